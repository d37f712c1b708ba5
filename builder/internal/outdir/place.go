//go:build linux

package outdir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/storage/remove"
)

// placing moves what is in one directory into another.
type placing struct{ del bool }

// check finds what would be in the way.
func (p *placing) check(to, from *os.File, at string) error {
	if p.del {
		return nil
	}
	names, err := names(from)
	if err != nil {
		return err
	}
	for _, name := range names {
		there, err := kind(to, name)
		if err != nil || there != unix.S_IFDIR {
			if err != nil {
				return err
			}
			continue
		}
		here, err := kind(from, name)
		if err != nil {
			return err
		}
		if err := p.checkDir(to, from, name, filepath.Join(at, name), here == unix.S_IFDIR); err != nil {
			return err
		}
	}
	return nil
}

// checkDir is check for a directory that is there.
func (p *placing) checkDir(to, from *os.File, name, at string, both bool) (err error) {
	sub, leave, err := enter(to, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, leave()) }()
	if both {
		in, leave, err := enter(from, name)
		if err != nil {
			return err
		}
		return errors.Join(p.check(sub, in, at), leave())
	}
	has, err := names(sub)
	if err == nil && len(has) > 0 {
		err = fmt.Errorf("%w: %s is a directory with files in it, and what is written has a file of that name; remove the directory before", errdefs.ErrInvalid, at)
	}
	return err
}

// place moves all that is in from into to, which is the directory itself or one below it.
func (p *placing) place(to, from *os.File, at string, itself bool) error {
	staged, err := names(from)
	if err != nil {
		return err
	}
	for _, name := range staged {
		if err := p.one(to, from, name, filepath.Join(at, name)); err != nil {
			return fmt.Errorf("putting %s into its place: %w", filepath.Join(at, name), err)
		}
	}
	if !p.del {
		return nil
	}
	there, err := names(to)
	if err != nil {
		return err
	}
	for _, name := range there {
		if _, wanted := slices.BinarySearch(staged, name); wanted || itself && strings.HasPrefix(name, prefix) {
			continue
		}
		if err := remove.Tree(to, name); err != nil {
			return fmt.Errorf("removing %s: %w", filepath.Join(at, name), err)
		}
	}
	return nil
}

// one moves one file.
func (p *placing) one(to, from *os.File, name, at string) error {
	here, err := kind(from, name)
	if err != nil {
		return err
	}
	there, err := kind(to, name)
	if err != nil {
		return err
	}
	switch {
	case here == unix.S_IFDIR && there == unix.S_IFDIR:
		return p.merge(to, from, name, at)
	case there == unix.S_IFDIR && !p.del:
		err = unix.Unlinkat(int(to.Fd()), name, unix.AT_REMOVEDIR)
	case there == unix.S_IFDIR:
		err = remove.Tree(to, name)
	case there != 0 && here == unix.S_IFDIR:
		err = unix.Unlinkat(int(to.Fd()), name, 0)
	}
	if err != nil {
		return err
	}
	if here != unix.S_IFDIR {
		return unix.Renameat(int(from.Fd()), name, int(to.Fd()), name)
	}
	// A directory that comes into another one must be one that can be written, since it names that.
	reset, err := open(from, name)
	if err != nil {
		return err
	}
	return errors.Join(unix.Renameat(int(from.Fd()), name, int(to.Fd()), name), reset())
}

// merge moves what is in a directory into one that is there already, which keeps its mode.
func (p *placing) merge(to, from *os.File, name, at string) (err error) {
	in, leave, err := enter(from, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, leave()) }()
	sub, leaveSub, err := enter(to, name)
	if err != nil {
		return err
	}
	return errors.Join(p.place(sub, in, at, false), leaveSub())
}

// kind is the type of a file, 0 when there is none.
func kind(dir *os.File, name string) (uint32, error) {
	var st unix.Stat_t
	err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return 0, nil
	}
	if err != nil {
		return 0, &os.PathError{Op: "stat", Path: filepath.Join(dir.Name(), name), Err: err}
	}
	return st.Mode & unix.S_IFMT, nil
}

// open lets the user write to a directory of his own for a time, until reset is called. One of another's is left
// as it is.
func open(dir *os.File, name string) (reset func() error, err error) {
	reset = func() error { return nil }
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: filepath.Join(dir.Name(), name), Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&0o700 == 0o700 || int(st.Uid) != os.Geteuid() {
		unix.Close(fd)
		return reset, err
	}
	path := fmt.Sprintf("/proc/self/fd/%d", fd) // there is no other call for a mere path
	if err := unix.Chmod(path, st.Mode&0o7777|0o700); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return func() error {
		defer unix.Close(fd)
		return unix.Chmod(path, st.Mode&0o7777)
	}, nil
}

// enter opens a directory to change what is in it, until leave is called.
func enter(dir *os.File, name string) (sub *os.File, leave func() error, err error) {
	reset, err := open(dir, name)
	if err != nil {
		return nil, nil, err
	}
	if sub, err = openDir(dir, name); err != nil {
		return nil, nil, errors.Join(err, reset())
	}
	return sub, func() error { return errors.Join(reset(), sub.Close()) }, nil
}

// openDir opens a directory, and follows no link.
func openDir(dir *os.File, name string) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	path := filepath.Join(dir.Name(), name)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// names lists a directory, sorted.
func names(dir *os.File) ([]string, error) {
	if _, err := dir.Seek(0, 0); err != nil {
		return nil, err
	}
	names, err := dir.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}
