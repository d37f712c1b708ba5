//go:build !linux || otheros

package foreign

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// openBeneath opens a regular file inside dir. Where the kernel cannot be asked to stay in a
// directory, os.Root goes from one directory to the next.
func openBeneath(dir, name string) (*os.File, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, explainRoot(root, name, err)
	}
	if err := regular(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// explainRoot finds the link that made opening a file fail, if one did.
func explainRoot(root *os.Root, name string, err error) error {
	var cause syscall.Errno
	switch {
	case name == "":
		cause = syscall.ENOENT
	case !errors.As(err, &cause):
		cause = syscall.EXDEV // of no system call: os.Root itself refuses to leave
	}
	target, linkErr := root.Readlink(name)
	switch {
	case cause == syscall.ENXIO || cause == syscall.EOPNOTSUPP: // a socket, or a pipe
		return &fs.PathError{Op: "open", Path: name, Err: ErrSpecial}
	case linkErr == nil && (cause == syscall.ENOENT || cause == syscall.EXDEV || cause == syscall.ELOOP):
		return &LinkError{Name: name, Target: target, Err: cause}
	case cause == syscall.EXDEV:
		return &fs.PathError{Op: "open", Path: name, Err: fmt.Errorf("it leads out of the directory that it must stay in (%w)", cause)}
	}
	return &fs.PathError{Op: "open", Path: name, Err: cause}
}
