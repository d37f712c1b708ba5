//go:build linux

package mountpoint

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/owners"
)

// Fill makes mount points, as Make does, for a sandbox that cannot mount and puts files into them
// instead: each is an empty directory or file at first. What was there is renamed into aside, an empty
// directory on the same file system, and comes back with Remove.
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

// LastAside is the time of the last change of what was set aside, of which being renamed is one.
func (t *Traces) LastAside() (last unix.Timespec) {
	for _, p := range t.points {
		if p.fill != nil && p.fill.changed.Nano() > last.Nano() {
			last = p.fill.changed
		}
	}
	return last
}

// clear sets aside what is in the place of a mount point, and says whether something can be made there.
func (f *filled) clear(dir int, name string, aside *os.File) bool {
	fd, err := unix.Openat(dir, ".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	f.in = os.NewFile(uintptr(fd), name)
	away := strconv.Itoa(fd)
	err = unix.Renameat2(dir, name, int(aside.Fd()), away, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.ENOENT) {
		return true
	}
	var st unix.Stat_t
	if err == nil {
		f.away = away
		err = unix.Fstatat(int(aside.Fd()), away, &st, unix.AT_SYMLINK_NOFOLLOW)
		f.changed = st.Ctim
	}
	return err == nil
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
