//go:build linux && (amd64 || arm64)

package notify

import (
	"errors"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/openat2"
)

// What a process gets when it opens a directory below /proc is one in the command's own /proc, in which there
// is a file, directory or link for each that the machine's has: what it then opens in that one is asked about
// again. The machine's own would lead out of the command's root, by its "..".

// makeProc makes the directories of the command's /proc to which processes go before anything is listed.
func (s *Server) makeProc() error {
	fd, err := openat2.Open(int(s.Root.Fd()), "proc", &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return &os.PathError{Op: "open", Path: "/proc", Err: err}
	}
	defer unix.Close(fd)
	if s.own, err = os.OpenRoot(descriptor(fd)); err != nil {
		return err
	}
	for _, name := range []string{"self/fd", "self/task", "thread-self", "sys"} {
		if err := s.own.MkdirAll(name, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// item is a name in a directory: the type of its file and, of a link, its text.
type item struct {
	kind fs.FileMode
	text string
}

// list reads a directory of this process's /proc, whose name below it is whole, and closes it.
func (t *thread) list(fd int, whole string) (map[string]item, error) {
	f := os.NewFile(uintptr(fd), "/proc/"+whole)
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	list := make(map[string]item, len(entries))
	for _, e := range entries {
		name, one := e.Name(), item{kind: e.Type()}
		if whole == "" {
			id, err := strconv.Atoi(name)
			if err != nil && t.masked([]string{name}) || err == nil && !t.ours(id) {
				continue
			}
		}
		if one.kind == fs.ModeSymlink {
			if one.text, err = t.link(fd, name); err != nil {
				continue // it is gone
			}
			one.text, _ = t.inside(one.text)
		}
		if whole == "" && (name == "self" || name == "thread-self") {
			one = item{kind: fs.ModeDir}
		}
		list[name] = one
	}
	return list, nil
}

// makeDir makes a directory of the command's /proc what is listed, and opens it.
func (s *Server) makeDir(name string, list map[string]item) (int, error) {
	s.listing.Lock()
	defer s.listing.Unlock()
	dir := s.own
	if name != "" {
		if err := s.own.MkdirAll(name, 0o755); err != nil {
			return -1, err
		}
		var err error
		if dir, err = s.own.OpenRoot(name); err != nil {
			return -1, err
		}
		defer dir.Close()
	}
	f, err := dir.Open(".")
	if err != nil {
		return -1, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return -1, err
	}
	for _, e := range entries {
		one, is := list[e.Name()]
		if is && one.kind == e.Type() {
			if text, err := dir.Readlink(e.Name()); one.kind != fs.ModeSymlink || err == nil && text == one.text {
				delete(list, e.Name())
				continue
			}
		}
		if err := dir.RemoveAll(e.Name()); err != nil {
			return -1, err
		}
	}
	for name, one := range list {
		if err := makeItem(dir, name, one); err != nil {
			return -1, err
		}
	}
	// Another file than the one that was read, whose place in the directory is its end.
	return unix.Openat(int(f.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

func makeItem(dir *os.Root, name string, one item) error {
	switch one.kind {
	case fs.ModeDir:
		return dir.Mkdir(name, 0o755)
	case fs.ModeSymlink:
		return dir.Symlink(one.text, name)
	}
	f, err := dir.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
	if err != nil {
		return err
	}
	return f.Close()
}
