//go:build linux

package overlay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/builder/internal/workspace"
	"github.com/oakum-build/oakum/storage"
)

// aheadCase is a copy of the directories src and src2, which are full of all kinds of files.
type aheadCase struct {
	name  string
	dest  string
	trees func(src, src2 filecopy.Tree) []filecopy.Tree // nil takes src alone
	below bool                                          // there is a layer below, with the destination
	ahead bool                                          // what the copy is known to be before it is made
}

func only(patterns ...string) func(src, src2 filecopy.Tree) []filecopy.Tree {
	return func(src, _ filecopy.Tree) []filecopy.Tree {
		src.Patterns = patterns
		return []filecopy.Tree{src}
	}
}

var aheadCases = []aheadCase{
	{"all", "/dest/", nil, false, true},
	{"the root", "/", nil, false, true},
	{"deep", "/new/a/b", nil, false, true},
	{"below there is a directory", "/dest/", nil, true, true},
	{"deep in what is below", "/old/new/deeper/", nil, true, true},
	{"through a link", "/link/", nil, true, true},
	{"one file", "/dest/name", only("medium"), true, true},
	{"one file over another", "/dest/zero", only("medium"), true, true},
	{"in order", "/dest/", only("a.txt", "large", "medium"), false, true},
	{"not in order", "/dest/", only("medium", "large"), false, false},
	{"twice", "/dest/", only("medium", "medium"), false, false},
	{"nothing", "/dest/", only("nothing"), true, true},
	{"parents", "/dest/", func(src, _ filecopy.Tree) []filecopy.Tree {
		src.Patterns, src.Parents = []string{"sub/deep/*"}, true
		return []filecopy.Tree{src}
	}, false, true},
	{"another mode and owner", "/dest/", func(src, _ filecopy.Tree) []filecopy.Tree {
		mode, err := filecopy.ParseMode("u=rwX,go=r")
		if err != nil {
			panic(err)
		}
		src.Mode, src.Owner = &mode, &filecopy.IDs{UID: 7, GID: 8}
		return []filecopy.Tree{src}
	}, true, true},
	{"two trees over each other", "/dest/", func(src, src2 filecopy.Tree) []filecopy.Tree { return []filecopy.Tree{src, src2} }, false, false},
	{"directories that stay", "/dest/", func(src, _ filecopy.Tree) []filecopy.Tree {
		src.KeepDirs = true
		return []filecopy.Tree{src}
	}, true, false},
	{"a file grows", "/dest/", changing("large", 2<<20), false, false},
	{"a file shrinks", "/dest/", changing("large", 1000), false, false},
	{"a small file grows", "/dest/", changing("zero", 10), false, false},
	{"a file becomes empty", "/dest/", changing("medium", 0), false, false},
}

// changing changes the length of a file after the copy has seen it and before it is read.
func changing(name string, size int64) func(src, src2 filecopy.Tree) []filecopy.Tree {
	return func(src, _ filecopy.Tree) []filecopy.Tree {
		var is unix.Stat_t
		err := unix.Fstatat(int(src.Root.Fd()), name, &is, 0)
		src.Apart = func(st *unix.Stat_t) bool {
			if err == nil && st.Ino == is.Ino {
				err = os.Truncate(filepath.Join(src.Root.Name(), name), size)
			}
			return err != nil
		}
		return []filecopy.Tree{src}
	}
}

// writeAll writes a tree of all kinds of files.
func writeAll(t *testing.T, dir string) {
	t.Helper()
	long := strings.Repeat("long", 40)
	for _, sub := range []string{"a", "sub/deep/er", "empty", "nothing", long} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	for name, size := range map[string]int{
		"zero": 0, "one": 1, "medium": 65536, "below": 65535, "blocks": 256 << 10, "large": 1<<20 + 7, "a/z": 10, "a.txt": 20, "a-b": 30,
		"sub/x": 513, "sub/deep/er/y": 512, "sub/deep/w": 511, long + "/" + long: 5, "b\xffytes\nline": 6,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), bytes.Repeat([]byte(name+"."), size/(len(name)+1)+1)[:size], 0o604); err != nil {
			t.Fatal(err)
		}
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	odd := time.Unix(1_000_000_000, 999_999_999)
	if err := errors.Join(
		os.Link(in("one"), in("sub/one")), os.Link(in("one"), in("zz")), os.Symlink("../nowhere", in("sub/link")), os.Symlink("a", in("dirlink")),
		unix.Mkfifo(in("fifo"), 0o640), unix.Setxattr(in("a"), "user.a", []byte("of a directory"), 0), unix.Setxattr(in("one"), "user.b", []byte{0, 1}, 0),
		unix.Chmod(in("a.txt"), 0o6755), unix.Chmod(in("empty"), 0o3777), os.Chtimes(in("sub/x"), odd, odd), os.Chtimes(in("sub"), odd, odd),
	); err != nil {
		t.Fatal(err)
	}
}

// TestAhead makes layers of copies with the stream that is made on the way and without: they are the
// same. In either case the stream comes out again of the layer's files.
func TestAhead(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	below, err := d.Make(t.Context(), nil, workspace.Change{}, func(w workspace.Workspace) error {
		in := func(name string) string { return filepath.Join(w.Path(), name) }
		return errors.Join(os.MkdirAll(in("dest/sub"), 0o711), os.MkdirAll(in("old"), 0o700), os.Symlink("dest", in("link")),
			os.WriteFile(in("dest/zero"), []byte("not zero"), 0o600), os.WriteFile(in("dest/sub/x"), []byte("other"), 0o600),
			unix.Setxattr(in("old"), "user.old", []byte("attribute"), 0))
	})
	if err != nil {
		t.Fatal(err)
	}
	sources := []string{t.TempDir(), t.TempDir()}
	for _, dir := range sources {
		writeAll(t, dir)
	}
	for _, test := range aheadCases {
		on := below
		if !test.below {
			on = nil
		}
		t.Run(test.name, func(t *testing.T) {
			fixed := []workspace.Times{{Limit: time.Unix(1_500_000_000, 0), All: true}}
			limited := []workspace.Times{{Limit: time.Unix(1_200_000_000, 0)}}
			for what, change := range map[string]workspace.Change{"": {}, " at one time": {Times: fixed}, " with a limit": {Times: limited}, " apart": {Apart: true, Times: fixed}} {
				if len(change.Times) > 0 && !change.Times[0].All && test.name != "all" || change.Apart && test.name != "below there is a directory" {
					continue // one case is enough
				}
				with := d.copied(t, on, change, test, sources, true)
				if with.Ahead() != test.ahead {
					t.Errorf("%s%s: made ahead: %t", test.name, what, with.Ahead())
				}
				if without := d.copied(t, on, change, test, sources, false); len(change.Times) > 0 && (with.DiffID() != without.DiffID() || with.Size() != without.Size()) {
					t.Errorf("%s%s: %d bytes with %s, and read %d with %s", test.name, what, with.Size(), with.DiffID(), without.Size(), without.DiffID())
				}
			}
		})
	}
}

// TestAheadTakesLong copies over the border of a second: the time of the destination was told when the copy began.
func TestAheadTakesLong(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	src := t.TempDir()
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(src, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.Open(src)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	met := 0
	waits := func(*unix.Stat_t) bool {
		if met++; met == 2 {
			time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second + 50*time.Millisecond)))
		}
		return false
	}
	l, err := d.Make(t.Context(), nil, workspace.Change{}, func(w workspace.Workspace) error {
		_, err := filecopy.Copy(t.Context(), filecopy.Target{Root: w.Root(), Dest: "/dest/", Ahead: w.Ahead()}, []filecopy.Tree{{Root: root, Apart: waits}})
		return err
	})
	if err == nil {
		err = l.Wait(t.Context())
	}
	if err != nil || !l.Ahead() || met != 2 {
		t.Errorf("%d files, %v", met, err)
	}
}

// copied makes a layer of a copy, and looks at its tar.
func (d *Driver) copied(t *testing.T, below *storage.Layer, c workspace.Change, test aheadCase, sources []string, ahead bool) *storage.Layer {
	t.Helper()
	l, err := d.Make(t.Context(), below, c, func(w workspace.Workspace) error {
		var trees [2]filecopy.Tree
		for i := range trees {
			if strings.HasPrefix(test.name, "a ") { // which changes them
				sources[i] = t.TempDir()
				writeAll(t, sources[i])
			}
			root, err := os.Open(sources[i])
			if err != nil {
				return err
			}
			defer root.Close()
			trees[i].Root = root
		}
		to := filecopy.Target{Root: w.Root(), Owners: w.Owners(), Dest: test.dest}
		if ahead {
			to.Ahead = w.Ahead()
		}
		from := trees[:1]
		if test.trees != nil {
			from = test.trees(trees[0], trees[1])
		}
		_, err := filecopy.Copy(t.Context(), to, from)
		return err
	})
	if err == nil {
		err = l.Wait(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	tar, err := d.store.OpenTar(l)
	if err != nil {
		t.Fatal(err)
	}
	defer tar.Close()
	sum := digest.SHA256.Digester()
	size, err := io.Copy(sum.Hash(), tar)
	if err != nil || sum.Digest() != l.DiffID() || size != l.Size() {
		t.Errorf("the tar is %s of %d bytes, and the layer says %s of %d: %v", sum.Digest(), size, l.DiffID(), l.Size(), err)
	}
	return l
}

// TestAheadIsNotBelieved tells of a copy what is not so.
func TestAheadIsNotBelieved(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	for name, lie := range map[string]func(w workspace.Workspace) error{
		"a file more": func(w workspace.Workspace) error { return os.WriteFile(filepath.Join(w.Path(), "zzz"), nil, 0o644) },
		"a file less": func(w workspace.Workspace) error { return os.Remove(filepath.Join(w.Path(), "sub/x")) },
		"another file": func(w workspace.Workspace) error {
			at := filepath.Join(w.Path(), "medium")
			info, err := os.Stat(at)
			if err != nil {
				return err
			}
			return errors.Join(os.Rename(at, at+"2"), os.WriteFile(at, make([]byte, 65536), 0o604), os.Chtimes(at, info.ModTime(), info.ModTime()), os.Remove(at+"2"))
		},
		"another time": func(w workspace.Workspace) error {
			return os.Chtimes(filepath.Join(w.Path(), "medium"), time.Time{}, time.Unix(5, 5))
		},
		"another moment": func(w workspace.Workspace) error {
			at := filepath.Join(w.Path(), "sub/x")
			info, err := os.Stat(at)
			if err != nil {
				return err
			}
			return os.Chtimes(at, time.Time{}, info.ModTime().Truncate(time.Second))
		},
		"another mode": func(w workspace.Workspace) error { return os.Chmod(filepath.Join(w.Path(), "a"), 0o700) },
		"another attribute": func(w workspace.Workspace) error {
			return unix.Setxattr(filepath.Join(w.Path(), "a"), "user.a", []byte("x"), 0)
		},
		"another link": func(w workspace.Workspace) error {
			at := filepath.Join(w.Path(), "dirlink")
			return errors.Join(os.Remove(at), os.Symlink("b", at))
		},
	} {
		src := t.TempDir()
		writeAll(t, src)
		root, err := os.Open(src)
		if err != nil {
			t.Fatal(err)
		}
		l, err := d.Make(t.Context(), nil, workspace.Change{}, func(w workspace.Workspace) error {
			if _, err := filecopy.Copy(t.Context(), filecopy.Target{Root: w.Root(), Dest: "/", Ahead: w.Ahead()}, []filecopy.Tree{{Root: root}}); err != nil {
				return fmt.Errorf("copying: %w", err)
			}
			return lie(w)
		})
		if err == nil {
			err = errors.Join(l.Wait(t.Context()), root.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		if l.Ahead() {
			t.Errorf("%s: the layer is what was told, not what it is", name)
		}
	}
}
