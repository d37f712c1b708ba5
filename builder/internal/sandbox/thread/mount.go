//go:build linux && (amd64 || arm64)

package thread

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/openat2"
)

// Attributes of mounts.
const (
	noSUID   = unix.MOUNT_ATTR_NOSUID
	noDev    = unix.MOUNT_ATTR_NODEV
	noExec   = unix.MOUNT_ATTR_NOEXEC
	readOnly = unix.MOUNT_ATTR_RDONLY
)

// keep closes a descriptor when the command has ended.
func (c *container) keep(fd int) int {
	c.open = append(c.open, fd)
	return fd
}

// fresh makes a new file system that is not mounted anywhere yet. Options are names and values in turn.
func (c *container) fresh(kind string, attributes int, options ...string) (int, error) {
	fs, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("making a %s: %w", kind, os.NewSyscallError("fsopen", err))
	}
	defer unix.Close(fs)
	for i := 0; i < len(options); i += 2 {
		if err := unix.FsconfigSetString(fs, options[i], options[i+1]); err != nil {
			return -1, fmt.Errorf("making a %s with %s=%s: %w", kind, options[i], options[i+1], os.NewSyscallError("fsconfig", err))
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("making a %s: %w", kind, os.NewSyscallError("fsconfig", err))
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attributes)
	if err != nil {
		return -1, fmt.Errorf("making a %s: %w", kind, os.NewSyscallError("fsmount", err))
	}
	return c.keep(fd), nil
}

// clone makes a mount of what a path of the caller's leads to, or what a descriptor is when the path is
// empty, that is not mounted anywhere yet.
func (c *container) clone(dir int, name string, flags uint, attributes uint64) (int, error) {
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	fd, err := unix.OpenTree(dir, name, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|flags)
	if err != nil {
		return -1, &os.PathError{Op: "open_tree", Path: name, Err: err}
	}
	c.keep(fd)
	attr := unix.MountAttr{Attr_set: attributes, Propagation: unix.MS_PRIVATE}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|flags&unix.AT_RECURSIVE, &attr); err != nil {
		return -1, &os.PathError{Op: "mount_setattr", Path: name, Err: err}
	}
	return fd, nil
}

// attach mounts what is not mounted yet on something that is open.
func attach(mount, target int, name string) error {
	if err := unix.MoveMount(mount, "", target, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
		return &os.PathError{Op: "mount", Path: name, Err: err}
	}
	return nil
}

// inRoot opens a path of the root file system, out of which no link leads.
func (c *container) inRoot(root int, name string, resolve uint64) (int, error) {
	fd, err := openat2.Open(root, name, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | resolve,
	})
	if errors.Is(err, unix.ELOOP) && resolve != 0 {
		return -1, fmt.Errorf("%s is a link in the root file system, and nothing can be mounted there", name)
	}
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return c.keep(fd), nil
}

// mode is that of a file as mount options have it.
func mode(m os.FileMode) string {
	bits := uint64(m.Perm())
	if m&os.ModeSticky != 0 {
		bits |= unix.S_ISVTX
	}
	return strconv.FormatUint(bits, 8)
}
