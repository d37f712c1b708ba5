//go:build linux

// Package remove removes trees of files that others have made. They may be nested deeper than a process
// may have files open, have longer paths than a system call takes, or directories that nobody may
// read. They are walked by descriptor, so that no link in them leads elsewhere.
package remove

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maxDepth is how many directories of a tree are open at once while it is removed.
const maxDepth = 32

// Tree removes a file or directory of dir, with all in it. Directories in it that belong to this process's user
// are opened up to that user first; dir is not changed but for the name, and neither is a file that has flags
// that keep it. It is no error when dir has no such name. Of a tree that could not be removed as a whole,
// what is left may lie at another place of the tree.
func Tree(dir *os.File, name string) error {
	return (&remover{outside: dir}).tree(dir, name)
}

// Force is Tree for what lies in a store: flags that keep files from being removed are cleared, and dir
// is opened up too.
func Force(dir *os.File, name string) error {
	return (&remover{force: true}).tree(dir, name)
}

// Counted is Force, and says how many bytes of the disk the files took.
func Counted(dir *os.File, name string) (int64, error) {
	r := remover{force: true, counts: true}
	err := r.tree(dir, name)
	return r.size, err
}

// Path is Force for a path whose directories nobody else can change.
func Path(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(Force(dir, filepath.Base(path)), dir.Close())
}

type remover struct {
	outside *os.File // a directory that is to stay as it is, or nil
	force   bool
	root    *os.File
	serial  int
	counts  bool
	size    int64 // of the files that were removed, on disk
}

func (r *remover) tree(dir *os.File, name string) error {
	r.count(dir, name)
	err := r.unlink(dir, name)
	if !errors.Is(err, unix.ENOTEMPTY) {
		return err
	}
	root, err := r.open(dir, name)
	if err != nil {
		return err
	}
	defer root.Close()
	r.root = root
	return errors.Join(r.empty(root, 0), r.unlink(dir, name))
}

// count counts a file that is about to be removed; of one with several names, the last.
func (r *remover) count(dir *os.File, name string) {
	var st unix.Stat_t
	if r.counts && unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Nlink == 1 {
		r.size += st.Blocks * 512
	}
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

// remove removes an entry of a directory. A directory that lies too deep is not entered but
// moved up into the root, which is read again until it is empty.
func (r *remover) remove(dir *os.File, name string, depth int) error {
	r.count(dir, name)
	err := r.unlink(dir, name)
	if !errors.Is(err, unix.ENOTEMPTY) {
		return err
	}
	if depth >= maxDepth {
		return r.moveUp(dir, name)
	}
	sub, err := r.open(dir, name)
	if err != nil {
		return err
	}
	return errors.Join(r.empty(sub, depth+1), sub.Close(), r.unlink(dir, name))
}

func (r *remover) moveUp(dir *os.File, name string) error {
	r.serial++
	to := fmt.Sprintf(".deep-%d-%d", os.Getpid(), r.serial)
	try := func() error {
		return unix.Renameat2(int(dir.Fd()), name, int(r.root.Fd()), to, unix.RENAME_NOREPLACE)
	}
	err := try()
	if errors.Is(err, unix.EACCES) {
		// A directory that comes into another one must be one that can be written, since it names that.
		var moved *os.File
		if moved, err = r.open(dir, name); err != nil {
			return err
		}
		r.openUp(moved)
		moved.Close()
		err = try()
	}
	if errors.Is(err, unix.EEXIST) {
		return nil // the tree has such a name; the next number is tried
	}
	return wrap("rename", name, err)
}

// unlink removes a file or an empty directory, and is content when there is none.
func (r *remover) unlink(dir *os.File, name string) error {
	try := func() error {
		err := unix.Unlinkat(int(dir.Fd()), name, 0)
		if errors.Is(err, unix.EISDIR) {
			err = unix.Unlinkat(int(dir.Fd()), name, unix.AT_REMOVEDIR)
		}
		return err
	}
	err := try()
	switch {
	case errors.Is(err, unix.EPERM) && r.force:
		clearFlags(dir, ".")
		clearFlags(dir, name)
		err = try()
	case errors.Is(err, unix.EACCES):
		r.openUp(dir)
		err = try()
	}
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return wrap("remove", name, err)
}

func (r *remover) open(dir *os.File, name string) (*os.File, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(int(dir.Fd()), name, flags, 0)
	if errors.Is(err, unix.EACCES) {
		r.openUp(dir)
		var at int
		if at, err = unix.Openat(int(dir.Fd()), name, flags|unix.O_PATH, 0); err == nil {
			openUp(at)
			fd, err = unix.Openat(at, ".", flags, 0)
			unix.Close(at)
		}
	}
	if err != nil {
		return nil, wrap("open", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (r *remover) openUp(dir *os.File) {
	if dir != r.outside {
		openUp(int(dir.Fd()))
	}
}

// openUp lets the owner of a directory do all in it, if it can. Only root may without.
func openUp(dir int) {
	_ = unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", dir), 0o700)
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
