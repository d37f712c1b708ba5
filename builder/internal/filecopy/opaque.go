//go:build linux

package filecopy

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Uncover takes overlay's mark that hides what is below from all directories below
// one, and from itself.
func Uncover(dir *os.File) error {
	for _, name := range []string{"user.overlay.opaque", "trusted.overlay.opaque"} {
		err := unix.Fremovexattr(int(dir.Fd()), name)
		if err != nil && !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.EPERM) {
			return &os.PathError{Op: "removexattr", Path: dir.Name(), Err: err}
		}
	}
	names, err := readNames(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !isDirAt(dir, name) {
			continue
		}
		sub, err := openChild(dir, name, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			return &os.PathError{Op: "open", Path: name, Err: err}
		}
		err = Uncover(sub)
		sub.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func isDirAt(dir *os.File, name string) bool {
	var st unix.Stat_t
	err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}
