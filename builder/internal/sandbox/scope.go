//go:build linux

package sandbox

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
)

// start starts a container's first process from a thread that is then thrown away,
// because what a thread may no longer do holds for the processes that it starts.
func start(container *libcontainer.Container, process *libcontainer.Process, i386 bool) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for ever
		err := scope()
		if err == nil && i386 {
			err = i386Sockets()
		}
		if err == nil {
			err = container.Run(process)
		}
		done <- err
	}()
	return <-done
}

// scopeABI is the first version of Landlock that knows scopes (Linux 6.12).
const scopeABI = 6

// scope keeps this thread, and all that it starts, from abstract sockets and processes
// other than those that it starts: a command has the host's network, in which the
// user's own services listen. Kernels that cannot do it are left alone. It forbids
// nothing about files, so mounts go on working.
func scope() error {
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 || abi < scopeABI {
		return nil
	}
	attr := unix.LandlockRulesetAttr{Scoped: unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if errno != 0 {
		return fmt.Errorf("keeping the command from the host's sockets: %w", os.NewSyscallError("landlock_create_ruleset", errno))
	}
	defer unix.Close(int(fd))
	if _, _, errno = unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		return fmt.Errorf("keeping the command from the host's sockets: %w", os.NewSyscallError("landlock_restrict_self", errno))
	}
	return nil
}
