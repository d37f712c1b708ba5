package buildertest

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"syscall"
	"testing/fstest"
	"time"

	"github.com/oakum-build/oakum/builder"
)

// file is a file of a root file system. It is not changed once it is in a tree, for several
// trees may have it.
type file struct {
	mode     fs.FileMode // with the type's bits
	uid, gid int
	time     time.Time
	data     []byte
	link     string // of a symbolic link
}

// tree is a root file system: files by their path without the slash in front; the root itself
// is not in it.
type tree map[string]*file

// maxLinks is how many links a path may lead through, as in the kernel.
const maxLinks = 40

// resolve gives the path of a file without links, none of which leads out of the tree. The last
// component is followed if follow says so. What does not exist has no links.
func (t tree) resolve(name string, follow bool) (string, error) {
	at, rest := "", strings.Split(clean(name), "/")
	for links := 0; len(rest) > 0; {
		switch rest[0] {
		case "", ".":
			rest = rest[1:]
			continue
		case "..":
			at, rest = parent(at), rest[1:]
			continue
		}
		next := path.Join(at, rest[0])
		f := t[next]
		if f == nil || f.link == "" || len(rest) == 1 && !follow {
			at, rest = next, rest[1:]
			continue
		}
		if links++; links > maxLinks {
			return "", fmt.Errorf("%w: /%s: too many links", builder.ErrInvalid, clean(name))
		}
		if path.IsAbs(f.link) {
			at = ""
		}
		rest = append(strings.Split(f.link, "/"), rest[1:]...)
	}
	return at, nil
}

func parent(name string) string {
	dir := path.Dir(name)
	if dir == "." || dir == "/" {
		return ""
	}
	return dir
}

// clean makes a path relative to the root, which it cannot leave.
func clean(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

func (t tree) isDir(name string) bool {
	f := t[name]
	return name == "" || f != nil && f.mode.IsDir()
}

// makeDirs makes a directory and those above it, and gives its path without links.
func (t tree) makeDirs(name string, like file) (string, error) {
	at, err := t.resolve(name, true)
	if err != nil || at == "" {
		return at, err
	}
	like.mode = fs.ModeDir | cmp.Or(like.mode.Perm(), 0o755)
	for i := range at {
		if at[i] == '/' && t[at[:i]] == nil {
			dir := like
			t[at[:i]] = &dir
		}
		if at[i] == '/' && !t.isDir(at[:i]) {
			return "", fmt.Errorf("%w: /%s is not a directory", builder.ErrInvalid, at[:i])
		}
	}
	switch f := t[at]; {
	case f == nil:
		t[at] = &like
	case !f.mode.IsDir():
		return "", fmt.Errorf("%w: /%s is not a directory", builder.ErrInvalid, at)
	}
	return at, nil
}

// put makes a file, in place of another.
func (t tree) put(name string, f file) error {
	switch old := t[name]; {
	case name == "":
		return fmt.Errorf("%w: the root is a directory", builder.ErrInvalid)
	case old != nil && old.mode.IsDir() && !f.mode.IsDir():
		return fmt.Errorf("%w: /%s is a directory", builder.ErrInvalid, name)
	}
	if _, err := t.makeDirs(parent(name), file{time: f.time}); err != nil {
		return err
	}
	t[name] = &f
	return nil
}

// remove removes a file with all below it.
func (t tree) remove(name string) {
	maps.DeleteFunc(t, func(other string, _ *file) bool { return other == name || strings.HasPrefix(other, name+"/") })
}

// files shows the tree as a file system.
func (t tree) files() fs.FS {
	out := fstest.MapFS{}
	for name, f := range t {
		data := f.data
		if f.link != "" {
			// A link of the root file system leads to where it leads in there.
			data = []byte(f.link)
			if path.IsAbs(f.link) {
				data = []byte(strings.Repeat("../", strings.Count(name, "/")) + clean(f.link))
			}
		}
		out[name] = &fstest.MapFile{Data: data, Mode: f.mode, ModTime: f.time, Sys: f}
	}
	return out
}

// read gives a regular file.
func (t tree) read(name string) ([]byte, error) {
	at, err := t.resolve(name, true)
	if err != nil {
		return nil, err
	}
	f := t[at]
	switch {
	case f == nil && at != "":
		return nil, fmt.Errorf("%w: /%s", builder.ErrNotFound, clean(name))
	case f == nil || !f.mode.IsRegular():
		return nil, fmt.Errorf("%w: /%s is not a regular file", builder.ErrInvalid, clean(name))
	}
	return f.data, nil
}

// Files is the root file system of a stage, while a command changes it.
type Files struct {
	tree     tree
	secrets  map[string][]byte // of the command, by where it sees them
	readOnly []string          // paths of which nothing can be changed
}

// changing gives the error of who would change a file in what is read-only.
func (f Files) changing(at string) error {
	for _, dir := range f.readOnly {
		if at == dir || strings.HasPrefix(at, dir+"/") || strings.HasPrefix(dir, at+"/") {
			return fmt.Errorf("/%s: %w", at, syscall.EROFS)
		}
	}
	return nil
}

// ReadFile gives what a regular file or a secret of the command holds, or an error that matches
// builder.ErrNotFound.
func (f Files) ReadFile(name string) ([]byte, error) {
	at, err := f.tree.resolve(name, true)
	if data, ok := f.secrets[at]; ok && err == nil {
		return slices.Clone(data), nil
	}
	return f.tree.read(name)
}

// WriteFile makes a file of root's, with the directories above it, or replaces one.
func (f Files) WriteFile(name string, data []byte, mode fs.FileMode) error {
	at, err := f.tree.resolve(name, true)
	if err == nil {
		err = f.changing(at)
	}
	if err != nil {
		return err
	}
	return f.tree.put(at, file{mode: mode.Perm(), time: now(), data: slices.Clone(data)})
}

// MkdirAll makes a directory and those above it.
func (f Files) MkdirAll(name string, mode fs.FileMode) error {
	at, err := f.tree.resolve(name, true)
	if err == nil && !f.tree.isDir(at) {
		err = f.changing(at)
	}
	if err == nil {
		_, err = f.tree.makeDirs(name, file{mode: mode, time: now()})
	}
	return err
}

// RemoveAll removes a file or a directory with all that is in it, if there is one.
func (f Files) RemoveAll(name string) error {
	at, err := f.tree.resolve(name, false)
	if err == nil && at == "" {
		err = errors.New("the root cannot be removed")
	}
	if err == nil {
		err = f.changing(at)
	}
	if err == nil {
		f.tree.remove(at)
	}
	return err
}

// FS shows the files as they are now.
func (f Files) FS() fs.FS { return f.tree.files() }

// now is the time as images keep it.
func now() time.Time { return time.Now().Truncate(time.Second) }
