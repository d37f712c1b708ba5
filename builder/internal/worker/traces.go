//go:build linux

package worker

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/storage"
)

// traces are the mount points that an image hides from the stub layer below it, by a
// whiteout or a link: the runtime makes them in the layer, so they are taken out of it
// after the command, with the directories that had to be copied up for them.
type traces struct {
	missing []string // what would be made, parents first; paths without links
	above   []above  // the directories that are there, parents first
}

type above struct {
	path string
	st   unix.Stat_t
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

func newTraces(root *os.File, files map[string]string) *traces {
	t := &traces{}
	paths := []string{"/dev", "/proc", "/sys"}
	for target := range files {
		paths = append(paths, target)
	}
	for _, p := range paths {
		fd, err := inRoot(int(root.Fd()), p)
		if err == nil {
			unix.Close(fd)
			continue
		}
		if real, err := filecopy.Resolve(root, p); err == nil {
			t.note(root, real)
		}
	}
	return t
}

// note remembers which parts of a path are there.
func (t *traces) note(root *os.File, real string) {
	var chain []string
	for p := real; p != "/"; p = path.Dir(p) {
		chain = append(chain, p)
	}
	for _, p := range slices.Backward(chain) {
		var st unix.Stat_t
		if err := unix.Fstatat(int(root.Fd()), p[1:], &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			t.missing = append(t.missing, p)
		} else if !slices.ContainsFunc(t.above, func(a above) bool { return a.path == p }) {
			t.above = append(t.above, above{p, st})
		}
	}
}

func inRoot(root int, name string) (int, error) {
	return unix.Openat2(root, name, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// remove takes away what is still empty of the mount points that were made.
func (t *traces) remove(root *os.File) {
	for _, p := range slices.Backward(t.missing) {
		dir, err := inRoot(int(root.Fd()), path.Dir(p))
		if err != nil {
			continue
		}
		removeEmpty(dir, path.Base(p))
		unix.Close(dir)
	}
}

// prune takes the directories above them out of the unmounted upper directory unless
// the command has changed something there.
func (t *traces) prune(upper string) {
	if len(t.missing) == 0 {
		return
	}
	root, err := unix.Open(upper, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(root)
	for _, a := range slices.Backward(t.above) {
		dir, err := unix.Openat2(root, "."+path.Dir(a.path), &unix.OpenHow{
			Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
		})
		if err != nil {
			continue
		}
		name := path.Base(a.path)
		var st unix.Stat_t
		err = unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if err == nil && st.Mode == a.st.Mode && st.Uid == a.st.Uid && st.Gid == a.st.Gid && !opaque(dir, name) {
			_ = unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
		}
		unix.Close(dir)
	}
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

// removeEmpty removes a directory or regular file that has nothing in it.
func removeEmpty(dir int, name string) {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return
	}
	switch {
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		_ = unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
	case st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size == 0:
		_ = unix.Unlinkat(dir, name, 0)
	}
}
