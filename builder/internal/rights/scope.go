//go:build linux

package rights

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// scopeABI is the first version of Landlock that knows scopes (Linux 6.12).
const scopeABI = 6

// Scopes says whether this kernel knows them.
func Scopes() bool {
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	return errno == 0 && abi >= scopeABI
}

// ScopeRules are rules of Landlock that keep who is restricted by them, and all that they start,
// from abstract sockets and processes other than those that they start: a command may have the host's
// network, in which the user's own services listen. They forbid nothing about files, so mounts go on
// working. It gives a descriptor, and -1 on kernels that cannot do it.
func ScopeRules() (int, error) {
	if !Scopes() {
		return -1, nil
	}
	attr := unix.LandlockRulesetAttr{Scoped: unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if errno != 0 {
		return -1, fmt.Errorf("keeping the command from the host's sockets: %w", os.NewSyscallError("landlock_create_ruleset", errno))
	}
	return int(fd), nil
}

// Scope restricts this thread by ScopeRules.
func Scope() error {
	fd, err := ScopeRules()
	if err != nil || fd < 0 {
		return err
	}
	defer unix.Close(fd)
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(fd), 0, 0); errno != 0 {
		return fmt.Errorf("keeping the command from the host's sockets: %w", os.NewSyscallError("landlock_restrict_self", errno))
	}
	return nil
}
