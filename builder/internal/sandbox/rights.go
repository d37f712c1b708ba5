//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Userns is the user namespace of the commands. The zero value is the caller's own, which
// is not the initial one.
type Userns struct {
	// uids and gids of a new namespace, in which every id is the same as outside: root of
	// the machine keeps its files, and has no capability over the machine.
	uids, gids []specs.LinuxIDMapping
	// initial says that it is the initial namespace, because no other can be made.
	initial bool
	// sameRoot says that its root is root of the machine to all files.
	sameRoot bool
}

// ErrCapabilities says that commands cannot be kept from the caller's capabilities.
var ErrCapabilities = errors.New("running without CAP_SETPCAP, where no user namespace can be made: a command would have all the capabilities that oakum has")

// NewUserns chooses the user namespace of commands. initial says that the caller is in
// the initial one: then a new one is made when the machine allows it, which is tried.
// Elsewhere one is made only when the caller could not drop capabilities.
func NewUserns(initial bool) (Userns, error) {
	own, err := ownCapabilities()
	if err != nil {
		return Userns{}, err
	}
	setpcap := slices.Contains(own, "CAP_SETPCAP")
	if !initial && setpcap {
		return Userns{}, nil
	}
	u := Userns{sameRoot: initial}
	if u.uids, err = identity("/proc/self/uid_map"); err == nil {
		u.gids, err = identity("/proc/self/gid_map")
	}
	if err != nil {
		return Userns{}, err
	}
	switch {
	case u.possible():
		return u, nil
	case !setpcap:
		return Userns{}, ErrCapabilities
	}
	return Userns{initial: initial, sameRoot: initial}, nil
}

// identity maps each id of a map of this process to itself.
func identity(file string) ([]specs.LinuxIDMapping, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var maps []specs.LinuxIDMapping
	for line := range strings.Lines(string(data)) {
		var inside, outside, count uint32
		if _, err := fmt.Sscan(line, &inside, &outside, &count); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		maps = append(maps, specs.LinuxIDMapping{ContainerID: inside, HostID: inside, Size: count})
	}
	return maps, nil
}

// possible tries to make the namespace.
func (u Userns) possible() bool {
	sys := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, GidMappingsEnableSetgroups: true}
	for _, m := range u.uids {
		sys.UidMappings = append(sys.UidMappings, syscall.SysProcIDMap{ContainerID: int(m.ContainerID), HostID: int(m.HostID), Size: int(m.Size)})
	}
	for _, m := range u.gids {
		sys.GidMappings = append(sys.GidMappings, syscall.SysProcIDMap{ContainerID: int(m.ContainerID), HostID: int(m.HostID), Size: int(m.Size)})
	}
	// There is no such program: that this is what fails means that the rest did not.
	_, err := syscall.ForkExec("/proc/self/fd/none", nil, &syscall.ProcAttr{Sys: sys})
	return errors.Is(err, syscall.ENOENT)
}

// isNew says whether commands get a new namespace.
func (u Userns) isNew() bool { return u.uids != nil }

// capabilities are those that Docker gives, as far as the caller has them. Over the
// machine, not over a user namespace, nobody gets those that lead to its devices and to
// what others send over its network.
func (u Userns) capabilities() ([]string, error) {
	if u.isNew() {
		return names(dockerCaps), nil
	}
	own, err := ownCapabilities()
	if u.initial {
		own = slices.DeleteFunc(own, func(name string) bool { return name == "CAP_MKNOD" || name == "CAP_NET_RAW" })
	}
	return own, err
}

type capBit struct {
	name string
	bit  int
}

// dockerCaps are the capabilities that Docker gives by default.
var dockerCaps = []capBit{
	{"CAP_AUDIT_WRITE", unix.CAP_AUDIT_WRITE}, {"CAP_CHOWN", unix.CAP_CHOWN}, {"CAP_DAC_OVERRIDE", unix.CAP_DAC_OVERRIDE},
	{"CAP_FOWNER", unix.CAP_FOWNER}, {"CAP_FSETID", unix.CAP_FSETID}, {"CAP_KILL", unix.CAP_KILL}, {"CAP_MKNOD", unix.CAP_MKNOD},
	{"CAP_NET_BIND_SERVICE", unix.CAP_NET_BIND_SERVICE}, {"CAP_NET_RAW", unix.CAP_NET_RAW}, {"CAP_SETFCAP", unix.CAP_SETFCAP},
	{"CAP_SETGID", unix.CAP_SETGID}, {"CAP_SETPCAP", unix.CAP_SETPCAP}, {"CAP_SETUID", unix.CAP_SETUID}, {"CAP_SYS_CHROOT", unix.CAP_SYS_CHROOT},
}

func names(caps []capBit) []string {
	out := make([]string, len(caps))
	for i, c := range caps {
		out[i] = c.name
	}
	return out
}

// ownCapabilities are those of Docker's that the caller has and may pass on.
func ownCapabilities() ([]string, error) {
	var sets [2]unix.CapUserData
	if err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &sets[0]); err != nil {
		return nil, os.NewSyscallError("capget", err)
	}
	return names(slices.DeleteFunc(slices.Clone(dockerCaps), func(c capBit) bool {
		bounding, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c.bit), 0, 0, 0)
		return err != nil || bounding != 1 || sets[c.bit/32].Permitted&(1<<(c.bit%32)) == 0
	})), nil
}

// capabilities of a user other than root are only those it may gain by set-uid
// programs. None is inheritable (CVE-2022-29162).
func (u User) capabilities(bounding []string) *configs.Capabilities {
	if u.UID != 0 {
		return &configs.Capabilities{Bounding: bounding}
	}
	return &configs.Capabilities{Bounding: bounding, Effective: bounding, Permitted: bounding}
}
