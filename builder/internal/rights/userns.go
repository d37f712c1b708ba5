//go:build linux

package rights

import (
	"errors"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/passwd"
	"github.com/oakum-build/oakum/builder/internal/procfs"
	"github.com/oakum-build/oakum/builder/internal/sandbox"
	"github.com/oakum-build/oakum/builder/isolation"
)

// UserNamespace is that of the commands. The zero value is the caller's own, which is not the
// machine's.
type UserNamespace struct {
	// UIDs and GIDs of a new namespace, in which every id is the same as outside: root of
	// the machine keeps its files, and has no capability over the machine.
	UIDs, GIDs passwd.IDMap
	// Given says that it is sandbox.Command's Users, of which UIDs and GIDs are not told.
	Given bool
	// Initial says that it is the machine's, because no other can be made.
	Initial bool
	// SameRoot says that its root is root of the machine to all files.
	SameRoot bool
	// Chroot says that nothing but chroot(2) keeps commands in their root file system, so they never get
	// a capability that leads out of it.
	Chroot bool
}

// noCapabilities says that commands cannot be kept from the caller's capabilities.
var noCapabilities = sandbox.HostError{
	Missing: "running without CAP_SETPCAP, where no user namespace can be made: a command would have all the capabilities that oakum has",
	Remedy:  "run oakum as an ordinary user, or give the container CAP_SETPCAP",
}

// NewUserNamespace chooses the user namespace of commands. Where the caller is in the machine's, a
// new one is made when the machine allows it, which is tried. Elsewhere one is made only
// when the caller could not drop capabilities. A *sandbox.HostError says that there is none.
func NewUserNamespace() (UserNamespace, error) {
	own, err := ownCapabilities()
	if err != nil {
		return UserNamespace{}, err
	}
	uids, gids, err := passwd.OwnIDs()
	if err != nil {
		return UserNamespace{}, err
	}
	setpcap := slices.Contains(own, "CAP_SETPCAP")
	if !uids.All() && setpcap {
		return UserNamespace{}, nil
	}
	u := UserNamespace{SameRoot: uids.All(), UIDs: uids, GIDs: gids}
	switch {
	case u.possible():
		return u, nil
	case !setpcap:
		return UserNamespace{}, &noCapabilities
	}
	return UserNamespace{Initial: uids.All(), SameRoot: uids.All()}, nil
}

// NoUserNamespace is for commands that get no namespace at all, only another root directory. A
// *sandbox.HostError says that this process may not give them one.
func NoUserNamespace() (UserNamespace, error) {
	own, err := ownCapabilities()
	if err != nil {
		return UserNamespace{}, err
	}
	if !slices.Contains(own, "CAP_SYS_CHROOT") {
		return UserNamespace{}, &noChroot
	}
	uids, _, err := passwd.OwnIDs()
	return UserNamespace{Initial: uids.All(), SameRoot: uids.All(), Chroot: true}, err
}

// noChroot says that commands cannot even have another root directory.
var noChroot = sandbox.HostError{
	Missing: "CAP_SYS_CHROOT, without which a command cannot have another root directory",
	Remedy:  "run oakum as root of a container with Docker's default capabilities, or where user namespaces are allowed",
}

// possible tries to make the namespace.
func (u UserNamespace) possible() bool {
	if !procfs.Own() {
		return false // syscall would map the ids of another process
	}
	sys := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, GidMappingsEnableSetgroups: true}
	sys.UidMappings, sys.GidMappings = u.Mappings()
	// There is no such program: that this is what fails means that the rest did not.
	_, err := syscall.ForkExec("/proc/self/fd/none", nil, &syscall.ProcAttr{Sys: sys})
	return errors.Is(err, syscall.ENOENT)
}

// Mappings are the ids of a new namespace as those who start its first process want them.
func (u UserNamespace) Mappings() (uids, gids []syscall.SysProcIDMap) {
	return identity(u.UIDs), identity(u.GIDs)
}

// identity maps each id to itself.
func identity(ids passwd.IDMap) []syscall.SysProcIDMap {
	var maps []syscall.SysProcIDMap
	for _, r := range ids {
		maps = append(maps, syscall.SysProcIDMap{ContainerID: int(r.First), HostID: int(r.First), Size: int(r.Count)})
	}
	return maps
}

// For gives the namespace that the command brings along, if it does, or else u.
func (u UserNamespace) For(c sandbox.Command) UserNamespace {
	if c.Users == nil {
		return u
	}
	return UserNamespace{Given: true, SameRoot: u.SameRoot}
}

// IsNew says whether commands get another namespace than the caller's.
func (u UserNamespace) IsNew() bool { return u.UIDs != nil || u.Given }

// kernelCapabilities are those that this kernel knows, which root of a new user namespace has.
func kernelCapabilities() []string {
	all := isolation.AllCapabilities()
	for len(all) > 0 {
		if _, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(len(all)-1), 0, 0, 0); err == nil {
			break
		}
		all = all[:len(all)-1]
	}
	return all
}

// ownCapabilities are those that the caller has and may pass on.
func ownCapabilities() ([]string, error) {
	var sets [2]unix.CapUserData
	if err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &sets[0]); err != nil {
		return nil, os.NewSyscallError("capget", err)
	}
	var own []string
	for bit, name := range kernelCapabilities() {
		bounding, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(bit), 0, 0, 0)
		if err == nil && bounding == 1 && sets[bit/32].Permitted&(1<<(bit%32)) != 0 {
			own = append(own, name)
		}
	}
	return own, nil
}
