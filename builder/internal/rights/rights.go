//go:build linux

// Package rights says what a command may do: it makes of what was asked for (package isolation), of
// what every command has, and of what this process itself has, the capabilities, system-call filter,
// hidden paths and limits that a sandbox gives it. Sandboxes differ in how they give them, not in what.
package rights

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oakum-build/oakum/builder/internal/sandbox"
	"github.com/oakum-build/oakum/builder/isolation"
)

// Rights are those of one command.
type Rights struct {
	// Capabilities are the bounding set, by names such as CAP_CHOWN. Root has them all, and another
	// user none: it may gain them by set-user-ID programs and file capabilities. Nobody has
	// inheritable or ambient ones (CVE-2022-29162).
	Capabilities []string
	// Filter is the system-call filter, whose conditions have been decided. nil is none.
	Filter *specs.LinuxSeccomp
	// Masked are paths that are hidden, and ReadOnly those that cannot be changed, as far as they exist.
	Masked, ReadOnly []string
	// WritableSys says that /sys is not to be made read-only.
	WritableSys     bool
	NoNewPrivileges bool
	Limits          []Limit
	ShmSize         int64 // bytes of /dev/shm
	// AppArmor is the profile that the command is to be in, and Label the SELinux label, or "".
	AppArmor, Label string
}

// Of resolves what a command may do in a user namespace. i386 says that 32-bit programs of x86 may
// run. What makes no sense matches limits.ErrInvalid, and what cannot be had is a *sandbox.HostError.
func (u UserNamespace) Of(c sandbox.Command, i386 bool) (r Rights, err error) {
	s := c.Security
	r = Rights{NoNewPrivileges: s.NoNewPrivileges, WritableSys: s.Insecure, ShmSize: c.Limits.ShmSize}
	if r.ShmSize == 0 {
		r.ShmSize = shmSize
	}
	if r.Capabilities, err = u.capabilities(s); err != nil {
		return Rights{}, err
	}
	if r.Filter, err = filter(s, r.Capabilities, i386); err != nil {
		return Rights{}, err
	}
	r.Masked, r.ReadOnly = u.paths(s)
	if r.Limits, err = u.limits(c.Limits.Ulimits); err != nil {
		return Rights{}, err
	}
	r.AppArmor, r.Label, err = modules(s)
	return r, err
}

// shmSize is Docker's default.
const shmSize = 64 << 20

// capabilities are those that Docker gives, changed as asked, as far as the caller has them. Over
// the machine, not over a user namespace, nobody gets those unasked that lead to its devices and to
// what others send over its network.
func (u UserNamespace) capabilities(s isolation.Security) ([]string, error) {
	held := kernelCapabilities()
	if !u.IsNew() {
		own, err := ownCapabilities()
		if err != nil {
			return nil, err
		}
		held = own
	}
	usual := isolation.DockerCapabilities()
	if u.Initial {
		usual = slices.DeleteFunc(usual, func(name string) bool { return name == "CAP_MKNOD" || name == "CAP_NET_RAW" })
	}
	if u.Chroot {
		held = slices.DeleteFunc(held, func(name string) bool { return slices.Contains(leadOut, name) })
	}
	if s.Insecure {
		usual = held
	}
	set, lacking, err := s.Capabilities(usual, held)
	if err != nil {
		return nil, err
	}
	if len(lacking) > 0 {
		why := "which oakum itself does not have here"
		if u.Chroot {
			why = "which oakum cannot give where commands have no namespaces"
		}
		return nil, &sandbox.HostError{
			Missing: "the command is to have " + strings.Join(lacking, ", ") + ", " + why,
			Remedy:  "leave it out, or run oakum where it has it: as an ordinary user, or in a container with that capability",
		}
	}
	return set, nil
}

// leadOut are the capabilities by which a process leaves a root directory that chroot(2) has given it, or
// mounts something that others see and that would stay: by handles of files, devices, mounts and namespaces,
// another root directory, the kernel's memory, and other processes.
var leadOut = []string{"CAP_DAC_READ_SEARCH", "CAP_MKNOD", "CAP_SYS_ADMIN", "CAP_SYS_CHROOT", "CAP_SYS_MODULE", "CAP_SYS_PTRACE", "CAP_SYS_RAWIO"}

// paths hides from root of the machine, too, what a file's owner could read.
func (u UserNamespace) paths(s isolation.Security) (masked, readOnly []string) {
	if !s.Insecure {
		masked, readOnly = slices.Clone(maskedPaths), slices.Clone(readonlyPaths)
		if u.SameRoot {
			masked = append(masked, rootsPaths...)
		}
	}
	shown := func(name string) bool { return unmasked(s.Unmask, name) }
	masked, readOnly = slices.DeleteFunc(masked, shown), slices.DeleteFunc(readOnly, shown)
	for _, name := range s.Mask {
		if !slices.Contains(masked, name) {
			masked = append(masked, name)
		}
	}
	return masked, readOnly
}

// lacks is the error of a security module that this machine has not.
func lacks(what, name string) error {
	return &sandbox.HostError{
		Missing: fmt.Sprintf("the command is to have the %s %q, and this machine has no %s", what, name, strings.Fields(what)[0]),
		Remedy:  "leave it out",
	}
}
