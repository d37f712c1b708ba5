//go:build linux

package worker

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/storage"
)

// traces are the mount points that an image hides from the stub layer below it, by a
// whiteout or a link: they are made in the layer for the command, and taken out of it
// afterwards with the directories that had to be copied up for them. What the command
// itself does to these directories stays.
type traces struct {
	points []point // what was made, parents first
	above  []above // the directories that were there, parents first, with the root
}

// point is a mount point, by its path without links.
type point struct {
	path string
	dir  bool
	ino  uint64
}

// above is a directory as it was.
type above struct {
	path   string
	st     unix.Stat_t
	xattrs string
}

// keepMountPoints makes the directories for the kernel's file systems that no layer has.
// They stay, for a runtime that is not given them by others makes them in the image:
// what BuildKit and Buildah build has them after the first RUN.
func keepMountPoints(below *storage.Layer, upper string) error {
	lowers, err := below.Lowers()
	if err != nil {
		return err
	}
	defer storage.CloseAll(lowers)
	for _, name := range []string{"dev", "proc", "sys"} {
		if hasEntry(lowers, name) {
			continue
		}
		if err := os.Mkdir(filepath.Join(upper, name), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// hasEntry reports whether layers, the uppermost first, have an entry in their roots.
func hasEntry(layers []*os.File, name string) bool {
	for _, dir := range layers {
		var st unix.Stat_t
		if unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
			whiteout := st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
			return !whiteout
		}
	}
	return false
}

// makeMountPoints makes those that are hidden. What cannot be made is left to the
// runtime, which says why.
func makeMountPoints(root *os.File, files map[string]string) *traces {
	t := &traces{}
	for _, p := range []string{"/dev", "/proc", "/sys"} {
		t.find(root, p, true)
	}
	for _, p := range slices.Sorted(maps.Keys(files)) {
		t.find(root, p, false)
	}
	if len(t.points) == 0 {
		return t
	}
	var st unix.Stat_t
	if unix.Fstat(int(root.Fd()), &st) == nil {
		t.above = append([]above{{path: "/", st: st}}, t.above...)
	}
	for i := range t.points {
		t.points[i].make(root)
	}
	for _, a := range t.above {
		setTime(root, a.path, a.st.Mtim)
	}
	return t
}

// find remembers which parts of a mount point's path are there and which must be made.
func (t *traces) find(root *os.File, name string, isDir bool) {
	if fd, err := inRoot(int(root.Fd()), name); err == nil {
		unix.Close(fd)
		return
	}
	real, err := filecopy.Resolve(root, name)
	if err != nil {
		return
	}
	var chain []string
	for p := real; p != "/"; p = path.Dir(p) {
		chain = append(chain, p)
	}
	for _, p := range slices.Backward(chain) {
		var st unix.Stat_t
		if err := unix.Fstatat(int(root.Fd()), p[1:], &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			if !slices.ContainsFunc(t.points, func(o point) bool { return o.path == p }) {
				t.points = append(t.points, point{path: p, dir: isDir || p != real})
			}
		} else if !slices.ContainsFunc(t.above, func(a above) bool { return a.path == p }) {
			t.above = append(t.above, above{p, st, xattrs(int(root.Fd()), p[1:])})
		}
	}
}

func (p *point) make(root *os.File) {
	dir, err := straight(int(root.Fd()), path.Dir(p.path))
	if err != nil {
		return
	}
	defer unix.Close(dir)
	name := path.Base(p.path)
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
	return unix.Openat2(root, "."+name, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
}

func inRoot(root int, name string) (int, error) {
	return unix.Openat2(root, name, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// remove takes away what is still empty of the mount points that were made, which
// leaves their directories' times as the command left them.
func (t *traces) remove(root *os.File) {
	times := map[string]unix.Timespec{}
	for _, p := range t.points {
		in := path.Dir(p.path)
		var st unix.Stat_t
		if dir, err := straight(int(root.Fd()), in); err == nil {
			if unix.Fstat(dir, &st) == nil {
				times[in] = st.Mtim
			}
			unix.Close(dir)
		}
	}
	for _, p := range slices.Backward(t.points) {
		if dir, err := straight(int(root.Fd()), path.Dir(p.path)); err == nil {
			p.remove(dir)
			unix.Close(dir)
		}
	}
	for in, to := range times {
		setTime(root, in, to)
	}
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

// prune takes the directories above them out of the unmounted upper directory unless
// the command has changed something there.
func (t *traces) prune(upper string) {
	if len(t.points) == 0 {
		return
	}
	root, err := unix.Open(upper, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(root)
	for _, a := range slices.Backward(t.above) {
		if a.path == "/" {
			continue
		}
		dir, err := straight(root, path.Dir(a.path))
		if err != nil {
			continue
		}
		name := path.Base(a.path)
		var in, st unix.Stat_t
		err = errors.Join(unix.Fstat(dir, &in), unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW))
		if err == nil && a.same(st) && xattrs(dir, name) == a.xattrs && !opaque(dir, name) && unix.Unlinkat(dir, name, unix.AT_REMOVEDIR) == nil {
			_ = unix.UtimesNanoAt(dir, ".", []unix.Timespec{{Nsec: unix.UTIME_OMIT}, in.Mtim}, 0)
		}
		unix.Close(dir)
	}
}

func (a above) same(st unix.Stat_t) bool {
	return st.Mode == a.st.Mode && st.Uid == a.st.Uid && st.Gid == a.st.Gid && st.Mtim == a.st.Mtim
}

// xattrs are a file's extended attributes but overlay's own, to be compared.
func xattrs(dir int, name string) string {
	file := fmt.Sprintf("/proc/self/fd/%d/%s", dir, name)
	list := make([]byte, 64<<10) // the kernel's limit
	n, err := unix.Llistxattr(file, list)
	if err != nil {
		return ""
	}
	var all []string
	for attr := range strings.SplitSeq(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00") {
		if attr == "" || strings.HasPrefix(attr, "trusted.overlay.") || strings.HasPrefix(attr, "user.overlay.") {
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

// opaque says whether a directory of an upper layer hides those below it.
func opaque(dir int, name string) bool {
	file := fmt.Sprintf("/proc/self/fd/%d/%s", dir, name)
	for _, space := range []string{"trusted", "user"} {
		if _, err := unix.Lgetxattr(file, space+".overlay.opaque", nil); err == nil {
			return true
		}
	}
	return false
}
