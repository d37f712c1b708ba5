//go:build linux

package mountpoint

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/owners"
)

// Fill makes mount points, as Make does, for a sandbox that cannot mount and puts files into them
// instead: each is an empty directory or file at first. What was there is renamed into aside, an empty
// directory on the same file system, and comes back with Remove. Err says whether all of it could be.
func Fill(root *os.File, own *owners.Owners, aside *os.File, points []string) *Traces {
	t := &Traces{root: root, owners: own, aside: aside}
	t.make(points)
	return t
}

// filled is a mount point that is filled.
type filled struct {
	in      *os.File      // the directory, which is found again wherever it has been renamed to
	away    string        // the name of what is set aside, "" when nothing was there
	changed unix.Timespec // when that was changed last, which includes being renamed
	same    bool          // it has not been changed meanwhile
}

// Err is why something could not be set aside; then the mount points are not to be filled.
func (t *Traces) Err() error { return t.failed }

// LastAside is the time of the last change of what was set aside, of which being renamed is one.
func (t *Traces) LastAside() (last unix.Timespec) {
	for _, p := range t.points {
		if p.fill != nil && p.fill.changed.Nano() > last.Nano() {
			last = p.fill.changed
		}
	}
	return last
}

// clear sets aside what is in the place of a mount point. After an error, what is still there is not the mount
// point's to remove.
func (f *filled) clear(dir int, name string, aside *os.File) error {
	fd, err := unix.Openat(dir, ".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f.in = os.NewFile(uintptr(fd), name)
	away := rand.Text() // of which no step before has left one
	err = unix.Renameat2(dir, name, int(aside.Fd()), away, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		err = errors.Join(err, f.in.Close())
		f.in = nil
		return err
	}
	f.away = away
	var st unix.Stat_t
	err = unix.Fstatat(int(aside.Fd()), away, &st, unix.AT_SYMLINK_NOFOLLOW)
	f.changed = st.Ctim
	return err
}

// restore removes what is in the place of a mount point, and puts back what was there.
func (f *filled) restore(name string, aside *os.File) error {
	if f.in == nil {
		return nil // it was not made
	}
	defer f.in.Close()
	return keepTime(int(f.in.Fd()), func() error {
		root, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", f.in.Fd()))
		if err != nil {
			return fmt.Errorf("clearing the mount point %s: %w", name, err)
		}
		defer root.Close()
		if err := root.RemoveAll(name); err != nil {
			return fmt.Errorf("clearing the mount point %s: %w", name, err)
		}
		if f.away == "" {
			return nil
		}
		var st unix.Stat_t
		err = unix.Fstatat(int(aside.Fd()), f.away, &st, unix.AT_SYMLINK_NOFOLLOW)
		f.same = err == nil && st.Ctim == f.changed
		err = unix.Renameat(int(aside.Fd()), f.away, int(f.in.Fd()), name)
		if err != nil && !errors.Is(err, unix.ENOENT) { // as for a directory that was removed
			return fmt.Errorf("putting back what was in place of the mount point %s: %w", name, err)
		}
		return nil
	})
}

// empty removes what has no place any more to be put back to, as when a command has removed the directory around
// a mount point. What cannot be removed is in nobody's way, and goes with aside itself.
func empty(aside *os.File) {
	root, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", aside.Fd()))
	if err != nil {
		return
	}
	defer root.Close()
	dir, err := root.Open(".") // aside may have been read already
	if err != nil {
		return
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		_ = root.RemoveAll(name)
	}
}
