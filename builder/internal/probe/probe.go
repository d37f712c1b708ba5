//go:build linux

// Package probe finds what a machine allows by doing it, in processes and threads that are thrown away.
package probe

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/oakum-build/oakum/builder/machine"
)

// Chroot tries to give a process another root directory.
func Chroot() machine.Probe {
	p := machine.Probe{Name: "chroot"}
	// There is no such program: that this is what fails means that the rest did not.
	_, err := syscall.ForkExec("/proc/self/fd/none", nil, &syscall.ProcAttr{Sys: &syscall.SysProcAttr{Chroot: "/"}})
	if p.OK = errors.Is(err, syscall.ENOENT); p.OK {
		p.Found = "allowed"
		return p
	}
	p.Found = fmt.Sprintf("giving a command a root directory: %v", err)
	p.Fix = "run it as root with CAP_SYS_CHROOT, which Docker and Podman give by default (docker run without --user and --cap-drop; Kubernetes without runAsNonRoot and capabilities.drop)"
	return p
}
