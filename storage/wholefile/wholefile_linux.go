package wholefile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// openNew opens a new file. It has no name until place gives it its own, where the file system knows such files,
// so that a process that is killed leaves nothing. It gets name in between where it takes the place of another.
func openNew(name string) (f *os.File, place func(path string) error, err error) {
	fd, err := unix.Open(filepath.Dir(name), unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o666)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) {
		return openNamed(name)
	}
	if err != nil {
		return nil, nil, &os.PathError{Op: "open", Path: filepath.Dir(name), Err: err}
	}
	f = os.NewFile(uintptr(fd), name)
	link := func(path string) error {
		err := unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
		if err != nil {
			return &os.PathError{Op: "link", Path: path, Err: err}
		}
		return nil
	}
	return f, func(path string) error {
		err := link(path)
		if !errors.Is(err, unix.EEXIST) {
			return err
		}
		if err := f.Sync(); err != nil { // see InSynced
			return err
		}
		if err := link(name); err != nil {
			return err
		}
		return os.Rename(name, path)
	}, nil
}
