//go:build linux

package storage

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// inheritNothing takes from directories of the store what files that are made in them would
// inherit: the set-group-ID bit, and a default ACL, because of which the umask would not count
// either. Layers are made in and below these directories, and must not come out different
// because of where the store is.
func inheritNothing(root *os.Root, names ...string) error {
	for _, name := range names {
		dir, err := root.Open(name)
		if err != nil {
			return err
		}
		if err := errors.Join(inherited(dir), dir.Close()); err != nil {
			return fmt.Errorf("%s of %s: %w", name, root.Name(), err)
		}
	}
	return nil
}

func inherited(dir *os.File) error {
	err := unix.Fremovexattr(int(dir.Fd()), "system.posix_acl_default")
	if err != nil && !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.EOPNOTSUPP) {
		return os.NewSyscallError("removexattr", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if st.Mode&unix.S_ISGID == 0 {
		return nil
	}
	return os.NewSyscallError("fchmod", unix.Fchmod(int(dir.Fd()), st.Mode&0o7777&^unix.S_ISGID))
}
