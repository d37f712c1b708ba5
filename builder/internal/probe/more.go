//go:build linux

package probe

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/machine"
)

// outcome is a probe that found text where err is nil.
func outcome(name string, err error, found, doing, fix string) machine.Probe {
	if err == nil {
		return machine.Probe{Name: name, OK: true, Found: found}
	}
	return machine.Probe{Name: name, Found: doing + ": " + err.Error(), Fix: fix}
}

// apart calls do on a thread that is thrown away with what do has done to it.
func apart(do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for ever
		done <- do()
	}()
	return <-done
}

// Sys tries to mount a /sys that shows a network namespace of a command's own.
func Sys() machine.Probe {
	err := apart(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWNET); err != nil {
			return os.NewSyscallError("unshare", err)
		}
		fs, err := unix.Fsopen("sysfs", unix.FSOPEN_CLOEXEC)
		if err != nil {
			return os.NewSyscallError("fsopen", err)
		}
		defer unix.Close(fs)
		return os.NewSyscallError("fsconfig", unix.FsconfigCreate(fs))
	})
	return outcome("/sys", err, "that of a command's network", "mounting a /sys for a network namespace (commands see that of oakum)",
		"run the outer container with an unmasked /sys (docker run --security-opt systempaths=unconfined, podman run --security-opt unmask=ALL)")
}

// Devices tries to make a device node in a directory, and to use it.
func Devices(dir string) machine.Probe {
	name := filepath.Join(dir, "probe-null")
	err := unix.Mknod(name, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3)))
	if err == nil {
		defer os.Remove(name)
		var f *os.File
		if f, err = os.OpenFile(name, os.O_WRONLY, 0); err == nil {
			f.Close()
		}
	} else {
		err = os.NewSyscallError("mknod", err)
	}
	return outcome("mknod", err, "allowed", "making device nodes (commands with a mere chroot have the usual ones where calls are answered, and no others; with namespaces they are mounted)",
		"run it as root of the machine, or of a container with CAP_MKNOD, which Docker gives by default")
}

// Filter tries to set a system-call filter.
func Filter() machine.Probe {
	err := apart(func() error {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return os.NewSyscallError("prctl", err)
		}
		allow := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}}
		prog := unix.SockFprog{Len: 1, Filter: &allow[0]}
		if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog))); errno != 0 {
			return os.NewSyscallError("seccomp", errno)
		}
		return nil
	})
	found := "can be set"
	if mode := field("Seccomp"); mode == "2" {
		found += "; oakum itself is in one"
	}
	return outcome("seccomp", err, found, "setting a system-call filter", "use a kernel with CONFIG_SECCOMP_FILTER, and a container's filter that allows seccomp(2)")
}

// NewPrivileges says whether programs that are started can have more rights.
func NewPrivileges() machine.Probe {
	set, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	if err == nil && set == 1 {
		err = errors.New("it is set, so that newuidmap and newgidmap, sudo and the like get no rights")
	}
	return outcome("no_new_privs", err, "not set", "no_new_privs",
		"run oakum without it (docker and podman run without --security-opt=no-new-privileges, Kubernetes with allowPrivilegeEscalation: true, systemd with NoNewPrivileges=no)")
}

// Confinement says what a security module makes of this process. It is no fault.
func Confinement() machine.Probe {
	p := machine.Probe{Name: "LSM", OK: true, Found: "none confines oakum"}
	text, err := os.ReadFile("/proc/self/attr/current")
	label := strings.TrimRight(string(text), "\n\x00")
	if err == nil && label != "" && label != "unconfined" && label != "kernel" {
		p.Found = fmt.Sprintf("oakum runs as %q", label)
	}
	return p
}

// field gives the value of a line of /proc/self/status.
func field(name string) string {
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if key, value, _ := strings.Cut(line, ":"); key == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
