//go:build linux

package foreign

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/openat2"
)

// OpenDir opens a directory to look files up in it, which needs no permission to list it.
func OpenDir(path string) (*os.File, error) {
	return os.OpenFile(path, unix.O_PATH|unix.O_DIRECTORY, 0)
}

// OpenDirIn opens a directory inside root, as Open does files.
func OpenDirIn(root *os.File, name string) (*os.File, error) {
	const resolve = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS
	fd, err := openBelow(root, name, unix.O_PATH|unix.O_DIRECTORY, resolve)
	if err != nil {
		return nil, explain(root, name, resolve, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// Open opens a regular file inside root as if root were /: links, absolute ones too, and
// ".." lead to what is inside. The error is a *fs.PathError, whose cause is ErrSpecial,
// EISDIR or of the system, or a *LinkError.
func Open(root *os.File, name string) (*os.File, error) {
	return open(root, name, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
}

// OpenBeneath is Open, but that a link that leads out of root, as every absolute one does,
// is an error (EXDEV).
func OpenBeneath(root *os.File, name string) (*os.File, error) {
	return open(root, name, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_MAGICLINKS)
}

func open(root *os.File, name string, resolve uint64) (*os.File, error) {
	fd, err := openBelow(root, name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, resolve)
	if err != nil {
		return nil, explain(root, name, resolve, err)
	}
	f := os.NewFile(uintptr(fd), name)
	if err := regular(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func openBelow(root *os.File, name string, flags int, resolve uint64) (fd int, err error) {
	return openat2.Open(int(root.Fd()), name, &unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: resolve})
}

// explain finds the link that made opening a file fail, if one did.
func explain(root *os.File, name string, resolve uint64, err error) error {
	fault := &fs.PathError{Op: "open", Path: name, Err: err}
	switch {
	case errors.Is(err, unix.ENXIO): // a socket, or a pipe
		fault.Err = ErrSpecial
		return fault
	case !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EXDEV) && !errors.Is(err, unix.ELOOP):
		return fault
	}
	fd, linkErr := openBelow(root, name, unix.O_PATH|unix.O_NOFOLLOW, resolve)
	if linkErr != nil {
		if errors.Is(err, unix.EXDEV) {
			fault.Err = fmt.Errorf("it leads out of the directory that it must stay in (%w)", err)
		}
		return fault
	}
	defer unix.Close(fd)
	target := make([]byte, unix.PathMax)
	n, linkErr := unix.Readlinkat(fd, "", target)
	if linkErr != nil {
		return fault
	}
	return &LinkError{Name: name, Target: string(target[:n]), Err: err}
}
