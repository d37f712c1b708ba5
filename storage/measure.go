//go:build linux

package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/usage"
)

// space is what files take.
type space struct {
	disk     int64     // bytes of their blocks
	apparent int64     // lengths of files and links
	newest   time.Time // when the last of the files was written
}

func (s *space) add(more space) {
	s.disk += more.disk
	s.apparent += more.apparent
	if more.newest.After(s.newest) {
		s.newest = more.newest
	}
}

// mostOpen is how many directories of a tree are open at once while it is measured.
const mostOpen = 32

// measuring adds up what files take, as du -x does: each file once, whatever number of names it has, directories
// too, and nothing of other file systems. What it may not read it counts as far as it sees it. Files come and go
// meanwhile.
type measuring struct {
	ctx  context.Context
	dev  uint64
	seen map[uint64]bool // inodes with several names
}

func measure(ctx context.Context, root *os.File) (*measuring, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(root.Fd()), &st); err != nil {
		return nil, wrap("stat", root.Name(), err)
	}
	return &measuring{ctx, st.Dev, map[uint64]bool{}}, nil
}

// file measures what a directory has by a name, without what is in that.
func (m *measuring) file(dir *os.File, name string) (sp space, is unix.Stat_t, err error) {
	err = unix.Fstatat(int(dir.Fd()), name, &is, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return sp, is, nil
	}
	if err != nil {
		return sp, is, wrap("stat", name, err)
	}
	if is.Dev != m.dev {
		return space{}, unix.Stat_t{}, nil
	}
	return m.of(&is), is, nil
}

func (m *measuring) of(is *unix.Stat_t) space {
	kind := is.Mode & unix.S_IFMT
	if is.Nlink > 1 && kind != unix.S_IFDIR {
		if m.seen[is.Ino] {
			return space{}
		}
		m.seen[is.Ino] = true
	}
	sp := space{disk: is.Blocks * 512}
	if kind == unix.S_IFREG || kind == unix.S_IFLNK {
		sp.apparent, sp.newest = is.Size, time.Unix(is.Mtim.Unix())
	}
	return sp
}

// each calls do for each name of a directory.
func (m *measuring) each(dir *os.File, do func(name string) error) error {
	if _, err := dir.Seek(0, io.SeekStart); err != nil {
		return err
	}
	names, err := dir.Readdirnames(-1)
	if err != nil && len(names) == 0 {
		return unreadable(err)
	}
	for _, name := range names {
		if err := do(name); err != nil {
			return err
		}
	}
	return nil
}

// unreadable is nil for the error of a directory that is gone, or that this user may not read.
func unreadable(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil
	}
	return err
}

// tree measures what a directory has by a name, with all that is in that.
func (m *measuring) tree(dir *os.File, name string) (space, error) {
	sp, is, err := m.file(dir, name)
	if err != nil || is.Mode&unix.S_IFMT != unix.S_IFDIR {
		return sp, err
	}
	below, err := m.within(dir, name)
	sp.add(below)
	return sp, err
}

// measured is a directory that is being measured.
type measured struct {
	dir   *os.File // nil while it is closed, since too many would be open
	is    inode
	names []string // that are still to be measured
}

// within measures all that is in a directory. What commands have made may be nested deeper than a process may have files open, and
// have longer paths than a system call takes: so only the lowest directories are open, and the way back
// is "..".
func (m *measuring) within(dir *os.File, name string) (sp space, err error) {
	var way []*measured
	defer func() {
		for _, d := range way {
			if d.dir != nil {
				d.dir.Close()
			}
		}
	}()
	enter := func(dir *os.File, name string) error {
		d, err := m.enter(dir, name)
		if d == nil || err != nil {
			return err
		}
		if way = append(way, d); len(way) > mostOpen {
			higher := way[len(way)-1-mostOpen]
			higher.dir.Close()
			higher.dir = nil
		}
		return nil
	}
	if err := enter(dir, name); err != nil {
		return sp, err
	}
	for len(way) > 0 {
		d := way[len(way)-1]
		if len(d.names) == 0 {
			if err := leave(way); err != nil {
				return sp, err
			}
			way = way[:len(way)-1]
			continue
		}
		name := d.names[len(d.names)-1]
		d.names = d.names[:len(d.names)-1]
		one, is, err := m.file(d.dir, name)
		if err != nil {
			return sp, err
		}
		sp.add(one)
		if is.Mode&unix.S_IFMT == unix.S_IFDIR {
			if err := enter(d.dir, name); err != nil {
				return sp, err
			}
		}
	}
	return sp, nil
}

// enter opens and lists a directory; nil is one that cannot be read.
func (m *measuring) enter(dir *os.File, name string) (*measured, error) {
	if err := m.ctx.Err(); err != nil {
		return nil, err
	}
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, wrapUnreadable(name, err)
	}
	d := &measured{dir: os.NewFile(uintptr(fd), name)}
	d.is, err = inodeOf(fd, "", unix.AT_EMPTY_PATH)
	if err == nil {
		d.names, err = d.dir.Readdirnames(-1)
	}
	if err != nil && len(d.names) == 0 {
		d.dir.Close()
		return nil, unreadable(err)
	}
	return d, nil
}

func wrapUnreadable(name string, err error) error {
	if unreadable(err) == nil {
		return nil
	}
	return wrap("open", name, err)
}

// leave closes the lowest directory, and sees to it that the one above is open.
func leave(way []*measured) error {
	low := way[len(way)-1].dir
	defer low.Close()
	if len(way) == 1 || way[len(way)-2].dir != nil {
		return nil
	}
	above := way[len(way)-2]
	fd, err := unix.Openat(int(low.Fd()), "..", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return wrap("open", low.Name()+"/..", err)
	}
	above.dir = os.NewFile(uintptr(fd), "..")
	if is, err := inodeOf(fd, "", unix.AT_EMPTY_PATH); err != nil || is != above.is {
		return errors.Join(err, fmt.Errorf("the directory %s was moved while it was measured; try again", low.Name()))
	}
	return nil
}

// touchLayer marks a layer as used now.
func (s *Store) touchLayer(l *Layer) {
	if l == nil || !l.registered() {
		return
	}
	touch(filepath.Join(s.layersHome(), l.id))
}

// touch marks a file as used now, unless that is known already, give or take usage.Grain. What cannot be marked, as in a store
// that is only read, has been used as it says.
func touch(path string) {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil {
		return
	}
	if ago := time.Since(time.Unix(st.Mtim.Unix())); ago > -usage.Grain && ago < usage.Grain {
		return
	}
	now := unix.Timespec{Nsec: unix.UTIME_NOW}
	_ = unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{{Nsec: unix.UTIME_OMIT}, now}, unix.AT_SYMLINK_NOFOLLOW)
}
