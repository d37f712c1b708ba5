//go:build linux

package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxDepth is how many directories of a tree are open at once while it is removed.
const maxDepth = 32

// removeTree removes a file or directory of dir, with all in it. The tree may be foreign:
// deeper than a process may have files open, with longer paths than a call takes, with
// directories that nobody may read. Nothing that dir has not is an error.
func removeTree(dir *os.File, name string) error {
	err := unlink(dir, name)
	if !errors.Is(err, unix.ENOTEMPTY) {
		return err
	}
	root, err := openDir(dir, name)
	if err != nil {
		return err
	}
	defer root.Close()
	r := remover{root: root}
	return errors.Join(r.empty(root, 0), unlink(dir, name))
}

// removePath is removeTree for a path of ours.
func removePath(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(removeTree(dir, filepath.Base(path)), dir.Close())
}

type remover struct {
	root   *os.File
	serial int
}

// empty removes all in a directory.
func (r *remover) empty(dir *os.File, depth int) error {
	for {
		if _, err := dir.Seek(0, io.SeekStart); err != nil {
			return err
		}
		names, err := dir.Readdirnames(1024)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		gone, failed := 0, error(nil)
		for _, name := range names {
			if err := r.remove(dir, name, depth); err != nil {
				failed = errors.Join(failed, err)
			} else {
				gone++
			}
		}
		if gone == 0 || len(names) < 1024 && failed != nil {
			return failed
		}
	}
}

// remove removes an entry of a directory. What lies too deep is moved up to the root,
// where its turn comes.
func (r *remover) remove(dir *os.File, name string, depth int) error {
	err := unlink(dir, name)
	if !errors.Is(err, unix.ENOTEMPTY) {
		return err
	}
	if depth >= maxDepth {
		r.serial++
		to := fmt.Sprintf(".deep-%d-%d", os.Getpid(), r.serial)
		err := unix.Renameat2(int(dir.Fd()), name, int(r.root.Fd()), to, unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EEXIST) {
			return nil // the tree has such a name; the next number is tried
		}
		return wrap("rename", name, err)
	}
	sub, err := openDir(dir, name)
	if err != nil {
		return err
	}
	return errors.Join(r.empty(sub, depth+1), sub.Close(), unlink(dir, name))
}

// unlink removes a file or an empty directory, and is content when there is none.
func unlink(dir *os.File, name string) error {
	try := func() error {
		err := unix.Unlinkat(int(dir.Fd()), name, 0)
		if errors.Is(err, unix.EISDIR) {
			err = unix.Unlinkat(int(dir.Fd()), name, unix.AT_REMOVEDIR)
		}
		return err
	}
	err := try()
	if errors.Is(err, unix.EPERM) {
		clearFlags(dir, ".")
		clearFlags(dir, name)
		err = try()
	}
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return wrap("remove", name, err)
}

func openDir(dir *os.File, name string) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, wrap("open", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// clearFlags takes the flags from a file that keep it from being removed, if it can.
func clearFlags(dir *os.File, name string) {
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil || (st.Mode&unix.S_IFMT != unix.S_IFREG && st.Mode&unix.S_IFMT != unix.S_IFDIR) {
		return
	}
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	const immutable, appendOnly = 0x10, 0x20 // FS_IMMUTABLE_FL, FS_APPEND_FL
	if flags, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS); err == nil && flags&(immutable|appendOnly) != 0 {
		_ = unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, int(flags&^(immutable|appendOnly)))
	}
}

func wrap(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: name, Err: err}
}

// The library removes layers by renaming them to <root>/overlay/tempdirs/temp-dir-X, beside
// lock-X, and then all at once, which fails with a tree that is too deep. It tries again
// whenever the store is read, and gives up reading it then.

const (
	deletedPrefix = "temp-dir-"
	deletedLock   = "lock-"
)

// sweepDeleted removes what the library could not, of processes that have died. What this
// cannot remove either is left for the library to say.
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
		// Of the file's description, so that a lock of this process counts as well.
		if unix.FcntlFlock(lock.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}) == nil && removeTree(dir, name) == nil {
			_ = unlink(dir, deletedLock+id)
		}
		lock.Close()
	}
}

func (s *Store) deleteLayer(id string) error { return removeDeleted(s.cs.DeleteLayer(id)) }

// removeDeleted removes what err says that the library could not, and gives the rest of it.
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
	return errors.Join(removeTree(dir, deletedPrefix+id), unlink(dir, deletedLock+id), dir.Close())
}
