//go:build linux

package storage

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/remove"
)

func wrap(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: name, Err: err}
}

// containers/storage removes a layer by renaming it to <root>/overlay/tempdirs/temp-dir-X, beside
// a file lock-X, and then removing that with os.RemoveAll, which fails for a tree that is too
// deep. It tries again whenever it reads the store; when that fails, it does not read the store,
// which then cannot be used at all.

const (
	deletedPrefix = "temp-dir-"
	deletedLock   = "lock-"
)

// sweepDeleted removes what the library could not remove in processes that have died. What
// cannot be removed here either stays, and the library's own error will tell of it.
func sweepDeleted(root string) {
	dir, err := os.Open(filepath.Join(root, "overlay", "tempdirs"))
	if err != nil {
		return
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return
	}
	for _, name := range names {
		id, ok := strings.CutPrefix(name, deletedPrefix)
		if !ok {
			continue
		}
		lock, err := os.OpenFile(filepath.Join(dir.Name(), deletedLock+id), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			continue
		}
		// A lock of the open file description also excludes the library's in this process.
		if unix.FcntlFlock(lock.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}) == nil && remove.Force(dir, name) == nil {
			_ = remove.Force(dir, deletedLock+id)
		}
		lock.Close()
	}
}

func (s *Store) deleteLayer(id string) error { return removeDeleted(s.cs.DeleteLayer(id)) }

// removeDeleted looks in an error of the library for trees that it could not remove, and removes
// them. It gives the errors that are left then.
func removeDeleted(err error) error {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var left []error
		for _, err := range many.Unwrap() {
			left = append(left, removeDeleted(err))
		}
		return errors.Join(left...)
	}
	var at *fs.PathError
	if !errors.As(err, &at) {
		return err
	}
	before, after, ok := strings.Cut(at.Path, "/overlay/tempdirs/"+deletedPrefix)
	if !ok {
		return err
	}
	id, _, _ := strings.Cut(after, "/")
	dir, openErr := os.Open(before + "/overlay/tempdirs")
	if openErr != nil {
		return err
	}
	return errors.Join(remove.Force(dir, deletedPrefix+id), remove.Force(dir, deletedLock+id), dir.Close())
}
