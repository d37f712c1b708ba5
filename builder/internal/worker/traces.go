//go:build linux

package worker

import (
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// traces are the mount points that an image hides from the stub layer below it, by a
// whiteout or a link: the runtime makes them in the layer, so they are removed from
// it after the command.
type traces struct {
	missing []trace
}

type trace struct {
	path   string
	parent unix.Stat_t
}

func newTraces(root *os.File, files map[string]string) *traces {
	t := &traces{}
	paths := []string{"/dev", "/proc", "/sys"}
	for target := range files {
		paths = append(paths, target)
	}
	for _, p := range paths {
		fd, err := inRoot(root, p)
		if err == nil {
			unix.Close(fd)
			continue
		}
		var st unix.Stat_t
		if dir, err := inRoot(root, path.Dir(p)); err == nil {
			err = unix.Fstat(dir, &st)
			unix.Close(dir)
			if err == nil {
				t.missing = append(t.missing, trace{p, st})
			}
		}
	}
	return t
}

func inRoot(root *os.File, name string) (int, error) {
	return unix.Openat2(int(root.Fd()), name, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// remove takes away what is still empty of the mount points that were made, and gives
// their directories the times they had.
func (t *traces) remove(root *os.File) {
	for _, m := range t.missing {
		dir, err := inRoot(root, path.Dir(m.path))
		if err != nil {
			continue
		}
		t.removeOne(dir, m)
		unix.Close(dir)
	}
}

func (t *traces) removeOne(dir int, m trace) {
	var st unix.Stat_t
	name := path.Base(m.path)
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return
	}
	flags := 0
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		flags = unix.AT_REMOVEDIR // fails unless it is empty
	case unix.S_IFREG:
		if st.Size != 0 {
			return
		}
	default:
		return
	}
	if unix.Unlinkat(dir, name, flags) == nil {
		_ = unix.UtimesNanoAt(dir, ".", []unix.Timespec{m.parent.Atim, m.parent.Mtim}, 0)
	}
}
