//go:build linux

// Package mountpoint makes the mount points that a sandbox needs in a root file system, for as long as
// its command runs, such that no trace of them is in the layer afterwards.
package mountpoint

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/builder/internal/owners"
	"github.com/oakum-build/oakum/storage/openat2"
	"github.com/oakum-build/oakum/storage/tarfilter"
)

// Traces are the mount points that were made, and the directories around them as they were.
// What the command itself does to these directories stays.
type Traces struct {
	root   *os.File
	owners *owners.Owners
	aside  *os.File // see Fill; nil where something is mounted
	points []point  // what was made, parents first
	above  []above  // the directories that were there, parents first, with the root
	failed error    // see Err
}

// point is a mount point, or a directory that was made for one, by its path without links.
type point struct {
	path string
	dir  bool
	ino  uint64
	fill *filled // nil where something is mounted, and of a directory that was made
}

// above is a directory as it was.
type above struct {
	path   string
	st     unix.Stat_t
	xattrs string
}

// Make makes mount points in a root that lack: paths as if the root were /, those of directories
// with a slash at the end, wherever links lead. What cannot be made is left to the sandbox, which
// says why. own has what the root's files should be, nil where they are that.
func Make(root *os.File, own *owners.Owners, points []string) *Traces {
	t := &Traces{root: root, owners: own}
	t.make(points)
	return t
}

func (t *Traces) make(points []string) {
	for _, p := range points {
		t.find(path.Clean("/"+p), strings.HasSuffix(p, "/"))
	}
	if len(t.points) == 0 {
		return
	}
	var st unix.Stat_t
	if unix.Fstat(int(t.root.Fd()), &st) == nil {
		t.above = append([]above{{path: "/", st: st}}, t.above...)
	}
	for i := range t.points {
		if t.failed = t.points[i].make(t); t.failed != nil {
			break
		}
	}
	for _, a := range t.above {
		setTime(t.root, a.path, a.st.Mtim)
	}
}

// find remembers which parts of a mount point's path are there and which must be made.
func (t *Traces) find(name string, isDir bool) {
	if t.aside == nil {
		if fd, err := inRoot(int(t.root.Fd()), name); err == nil {
			unix.Close(fd)
			return
		}
	}
	real, err := filecopy.Resolve(t.root, name)
	if err != nil {
		return
	}
	var chain []string
	for p := real; p != "/"; p = path.Dir(p) {
		chain = append(chain, p)
	}
	for _, p := range slices.Backward(chain) {
		var st unix.Stat_t
		missing := t.owners.Stat(t.root, p[1:], &st) != nil
		at := slices.IndexFunc(t.points, func(o point) bool { return o.path == p })
		if fill := t.aside != nil && p == real; at < 0 && (missing || fill) {
			t.points = append(t.points, point{path: p, dir: isDir || p != real})
			at = len(t.points) - 1
		} else if at < 0 && !slices.ContainsFunc(t.above, func(a above) bool { return a.path == p }) {
			t.above = append(t.above, above{p, st, xattrs(int(t.root.Fd()), p[1:])})
		}
		if t.aside != nil && p == real {
			t.points[at].fill = &filled{}
		}
	}
}

// make makes a mount point if it can be made. The error is that of what could not be set aside.
func (p *point) make(t *Traces) error {
	dir, err := straight(int(t.root.Fd()), path.Dir(p.path))
	if err != nil {
		return nil
	}
	defer unix.Close(dir)
	name := path.Base(p.path)
	if p.fill != nil {
		if err := p.fill.clear(dir, name, t.aside); err != nil {
			return fmt.Errorf("setting aside what is in place of the mount point %s: %w", p.path, err)
		}
	}
	if p.dir {
		err = unix.Mkdirat(dir, name, 0o755)
	} else {
		var fd int
		if fd, err = unix.Openat(dir, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644); err == nil {
			unix.Close(fd)
		}
	}
	var st unix.Stat_t
	if err == nil && unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
		p.ino = st.Ino
	}
	return nil
}

// setTime sets the time at which a directory was changed.
func setTime(root *os.File, name string, to unix.Timespec) {
	dir, err := straight(int(root.Fd()), name)
	if err != nil {
		return
	}
	defer unix.Close(dir)
	_ = unix.UtimesNanoAt(dir, ".", []unix.Timespec{{Nsec: unix.UTIME_OMIT}, to}, 0)
}

// straight opens a directory by a path in which no part is a link.
func straight(root int, name string) (int, error) {
	return openat2.Open(root, "."+name, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
}

func inRoot(root int, name string) (int, error) {
	return openat2.Open(root, name, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// Remove takes away what is still empty of the mount points that were made, which
// leaves their directories' times as the command left them. What was filled goes with all that it
// has, and what was set aside for it is back; an error is that of one where this cannot be done.
func (t *Traces) Remove() error {
	var errs error
	for _, p := range slices.Backward(t.points) {
		if p.fill != nil {
			errs = errors.Join(errs, p.fill.restore(path.Base(p.path), t.aside))
			continue
		}
		dir, err := straight(int(t.root.Fd()), path.Dir(p.path))
		if err != nil {
			continue
		}
		_ = keepTime(dir, func() error { p.remove(dir); return nil })
		unix.Close(dir)
	}
	if t.aside != nil && errs == nil {
		empty(t.aside)
	}
	return errs
}

// keepTime changes what is in a directory without the directory's time.
func keepTime(dir int, change func() error) error {
	var st unix.Stat_t
	err := unix.Fstat(dir, &st)
	if err := change(); err != nil {
		return err
	}
	if err == nil {
		_ = unix.UtimesNanoAt(dir, ".", []unix.Timespec{{Nsec: unix.UTIME_OMIT}, st.Mtim}, 0)
	}
	return nil
}

// remove takes away what was made if it has nothing in it.
func (p point) remove(dir int) {
	var st unix.Stat_t
	name := path.Base(p.path)
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil || st.Ino != p.ino {
		return
	}
	switch {
	case p.dir:
		_ = unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
	case st.Size == 0:
		_ = unix.Unlinkat(dir, name, 0)
	}
}

// Untouched calls each for what is as it was, the deepest first, of what Make and Remove have
// changed themselves: the directories around the mount points, but for the root, and what was set
// aside. each is given the directory that one is in, its name there, and its path. They are looked
// for in root, where what is there may have changed once more meanwhile.
func (t *Traces) Untouched(root *os.File, each func(dir *os.File, name, at string)) {
	for _, p := range slices.Backward(t.points) {
		if p.fill != nil && p.fill.same {
			t.visit(root, p.path, func(dir *os.File, name string, _ *unix.Stat_t) { each(dir, name, p.path) })
		}
	}
	for _, a := range slices.Backward(t.above) {
		if a.path == "/" {
			continue
		}
		t.visit(root, a.path, func(dir *os.File, name string, st *unix.Stat_t) {
			if a.same(st) && xattrs(int(dir.Fd()), name) == a.xattrs {
				each(dir, name, a.path)
			}
		})
	}
}

// visit calls do for a path, if it is there.
func (t *Traces) visit(root *os.File, at string, do func(dir *os.File, name string, st *unix.Stat_t)) {
	fd, err := straight(int(root.Fd()), path.Dir(at))
	if err != nil {
		return
	}
	dir, name := os.NewFile(uintptr(fd), path.Dir(at)), path.Base(at)
	defer dir.Close()
	var st unix.Stat_t
	if t.owners.Stat(dir, name, &st) == nil {
		do(dir, name, &st)
	}
}

func (a above) same(st *unix.Stat_t) bool {
	return st.Mode == a.st.Mode && st.Uid == a.st.Uid && st.Gid == a.st.Gid && st.Mtim == a.st.Mtim
}

// xattrs are a file's extended attributes but those of storage drivers, to be compared.
func xattrs(dir int, name string) string {
	file := fmt.Sprintf("/proc/self/fd/%d/%s", dir, name)
	list := make([]byte, 64<<10) // the kernel's limit
	n, err := unix.Llistxattr(file, list)
	if err != nil {
		return ""
	}
	var all []string
	for attr := range strings.SplitSeq(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00") {
		if attr == "" || tarfilter.StoresOwn(attr) {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(file, attr, value)
		if err == nil {
			all = append(all, fmt.Sprintf("%q=%q", attr, value[:n]))
		}
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}
