//go:build linux

// Package owndir makes directories for temporary files outside of a store, which do not stay when their process is killed.
package owndir

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/remove"
)

// Dir is one. It is locked for as long as its process lives. Whoever makes the next one with the same prefix removes
// those of processes that were killed.
type Dir struct {
	parent, dir *os.File
	name        string
}

// Temp makes one in TMPDIR.
func Temp(prefix string) (*Dir, error) {
	parent, err := os.Open(os.TempDir())
	if err != nil {
		return nil, err
	}
	return In(parent, prefix)
}

// In makes one in a directory, which is closed when that is removed, or this fails.
func In(parent *os.File, prefix string) (*Dir, error) {
	o := &Dir{parent: parent}
	err := sweep(parent, prefix)
	for err == nil && o.dir == nil {
		o.name = prefix + rand.Text()
		if err = unix.Mkdirat(int(parent.Fd()), o.name, 0o700); err == nil {
			o.dir, err = lock(parent, o.name)
		}
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EWOULDBLOCK) {
			err = nil // somebody has seen it before it was locked, and removes it
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("making a directory in %s: %w", parent.Name(), err), parent.Close())
	}
	return o, nil
}

// File is the directory, which Remove closes.
func (o *Dir) File() *os.File { return o.dir }

// Path is where it is.
func (o *Dir) Path() string { return filepath.Join(o.parent.Name(), o.name) }

// Remove removes it, with all that is in it.
func (o *Dir) Remove() error {
	return errors.Join(remove.Tree(o.parent, o.name), unlock(o.dir), o.parent.Close())
}

// sweep removes those that nobody has. What cannot be removed is tried again by the next process.
func sweep(parent *os.File, prefix string) error {
	in, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", parent.Fd())) // to be read from its start
	if err != nil {
		return err
	}
	names, err := in.Readdirnames(-1)
	if err := errors.Join(err, in.Close()); err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, prefix) || len(name) != len(prefix)+len(rand.Text()) {
			continue
		}
		if dir, err := lock(parent, name); err == nil {
			_ = remove.Tree(parent, name)
			_ = unlock(dir)
		}
	}
	return nil
}

// lock opens a directory of this user's and locks it, unless another has, or it is gone.
func lock(parent *os.File, name string) (*os.File, error) {
	fd, err := unix.Openat(int(parent.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	dir := os.NewFile(uintptr(fd), name)
	if err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	var is, named unix.Stat_t
	err = errors.Join(unix.Fstat(fd, &is), unix.Fstatat(int(parent.Fd()), name, &named, unix.AT_SYMLINK_NOFOLLOW))
	switch {
	case err != nil:
	case is.Dev != named.Dev || is.Ino != named.Ino:
		err = fs.ErrNotExist
	case int(is.Uid) != os.Geteuid():
		err = fs.ErrPermission
	default:
		return dir, nil
	}
	return nil, errors.Join(err, unlock(dir))
}

// unlock gives a lock back and closes its file. Closing alone leaves it to a process that is just being started.
func unlock(f *os.File) error {
	return errors.Join(unix.Flock(int(f.Fd()), unix.LOCK_UN), f.Close())
}
