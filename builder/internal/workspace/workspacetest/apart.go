//go:build linux

package workspacetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"testing"
	"time"

	"github.com/oakum-build/oakum/builder/internal/workspace"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/tarfilter"
)

// nothing is in the layer of a change of nothing, and below the first layer.
func nothing(t *testing.T, open Implementation) {
	m := start(t, open)
	empty := files{".": "40555 0:0"}
	same(t, "the nil layer", m.see(t, nil), empty)
	below := m.make(t, nil, workspace.Change{}, sh("mkdir d; touch d/f"))
	for name, c := range map[string]workspace.Change{"plain": {}, "apart": {Apart: true}, "mounts": {Mounts: []string{"/d/", "/e/f"}}, "times": {Times: []workspace.Times{{All: true, Limit: time.Unix(1, 0)}}}} {
		for _, on := range []*storage.Layer{nil, below} {
			l := m.make(t, on, c, sh("ls -R . >/dev/null; cat d/f || true"))
			if l.ID() == on.ID() || l.Parent() != on {
				t.Errorf("%s: no layer of its own on the one below", name)
			}
			if got := m.top(t, l); got != "" {
				t.Errorf("%s: the layer has %s", name, got)
			}
			same(t, name, m.see(t, l), m.see(t, on))
		}
	}
}

// directories are where a workspace is, and where its user may have temporary files.
func directories(t *testing.T, open Implementation) {
	m := start(t, open)
	below := m.make(t, nil, workspace.Change{}, sh("mkdir d"))
	var temps []string
	for _, c := range []workspace.Change{{}, {Apart: true}, {Mounts: []string{"/dev/"}}} {
		for _, on := range []*storage.Layer{nil, below} {
			l, err := m.Make(t.Context(), on, c, func(w workspace.Workspace) error {
				clean, err := filepath.EvalSymlinks(w.Path())
				if err != nil || clean != w.Path() || !filepath.IsAbs(clean) {
					t.Errorf("the path %s: %s, %v", w.Path(), clean, err)
				}
				byPath, err1 := os.Stat(w.Path())
				byFile, err2 := w.Root().Stat()
				if err := errors.Join(err1, err2); err != nil || !os.SameFile(byPath, byFile) {
					t.Errorf("%s is another root: %v", w.Path(), err)
				}
				one, err1 := w.Temp()
				two, err2 := w.Temp()
				if err := errors.Join(err1, err2); err != nil || one == two {
					t.Errorf("temporary directories: %s, %s, %v", one, two, err)
				}
				temps = append(temps, one, two)
				if err := sh("mkdir -p x/y; touch x/y/z unused")(one); err != nil {
					return err
				}
				if on == nil && c.Mounts == nil || c.Apart {
					return os.Rename(filepath.Join(one, "x"), fdPath(w.Root())+"/x")
				}
				return sh("mkdir -p x/y; touch x/y/z")(fdPath(w.Root()))
			})
			if err == nil {
				err = l.Wait(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := m.top(t, l); got != "x/ x/y/ x/y/z" {
				t.Errorf("%+v: the layer has %s", c, got)
			}
		}
	}
	for _, dir := range temps {
		if exists(dir) {
			t.Errorf("%s is left", dir)
		}
	}
}

// atOnce a layer can be read and built on, before the store has it.
func atOnce(t *testing.T, open Implementation) {
	m := start(t, open)
	var l *storage.Layer
	var want files
	for i := range 5 {
		var err error
		if l, err = m.Make(t.Context(), l, workspace.Change{}, func(w workspace.Workspace) error {
			if got, err := describe(w); err != nil {
				return err
			} else if i > 0 {
				same(t, "the next workspace", got, want)
			}
			err := in(sh(fmt.Sprintf("mkdir -p d/%d; head -c 1000000 /dev/zero >d/%[1]d/f; rm -rf d/%d", i, i-1)))(w)
			if err == nil {
				want, err = describe(w)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		same(t, "seen at once", m.see(t, l), want)
	}
	if err := l.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	same(t, "seen later", m.see(t, l), want)
}

// apart layers replace what they meet, but for directories, to which they add. What is below is
// not seen from there, and not followed.
func apart(t *testing.T, open Implementation) {
	m, other := start(t, open), start(t, open)
	below := m.make(t, nil, workspace.Change{}, sh(before), sh("ln -s d link; mkdir real; touch real/kept; ln -s real dir"))
	below = m.make(t, below, workspace.Change{}, sh("rm d/b; rm -r e; mkdir e; touch e/new"))
	old := m.see(t, below)
	c := workspace.Change{Apart: true, Times: []workspace.Times{{Limit: time.Unix(1100000000, 0), All: true}}}
	for name, do := range map[string]string{
		"a new file":                      "touch n",
		"a file on a file":                "mkdir d; printf new >d/a",
		"a directory on a directory":      "mkdir -m 700 -p d/sub; printf new >d/sub/new",
		"an empty directory":              "mkdir -m 711 d e",
		"a file on a directory":           "printf x >d",
		"a directory on a file":           "mkdir -p d/a; touch d/a/x",
		"a directory on a link":           "mkdir dir; touch dir/new",
		"a file on a link":                "printf x >link",
		"a link on a directory":           "ln -s e d",
		"what was removed below":          "mkdir d e; touch d/b e/h3",
		"what seems to be removed there":  "mkdir -p d/sub; touch d/sub/c; rm -r d/sub; mkdir d/sub; touch d/x; rm d/x",
		"what is renamed":                 "mkdir -p x/sub; touch x/sub/new; mv x d; mkdir y; mv y e",
		"files of other kinds, and links": "mkdir d; mkfifo -m 600 d/a; ln d/a d/f; ln -s nowhere d/l",
	} {
		l, err := m.Make(t.Context(), below, c, func(w workspace.Workspace) error {
			if seen, err := describe(w); err != nil || len(seen) != 1 {
				return fmt.Errorf("at first there is %s, %w", seen.names(), err)
			}
			return in(sh(do))(w)
		})
		if err == nil {
			err = l.Wait(t.Context())
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		added := m.see(t, m.make(t, nil, c, sh(do)))
		want := merged(old, added)
		for name := range old {
			if replaced(name, added) {
				delete(want, name)
			}
		}
		same(t, name, m.see(t, l), want)
		same(t, name+" elsewhere", elsewhere(t, other, m.image(t, l)), want)
		same(t, name+", and what is below", m.see(t, below), old)
	}
}

// replaced says whether a path has something else than a directory above it.
func replaced(name string, added files) bool {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if line := added[dir]; line != "" && !isDir(line) {
			return true
		}
	}
	return false
}

// apartIsTheSame whatever it is put on.
func apartIsTheSame(t *testing.T, open Implementation) {
	m := start(t, open)
	one := m.make(t, nil, workspace.Change{}, sh(before))
	two := m.make(t, one, workspace.Change{}, sh("rm -r d; printf x >d; mkdir n"))
	c := workspace.Change{Apart: true, Times: []workspace.Times{{Limit: time.Unix(1100000000, 0), All: true}}}
	do := []step{sh("mkdir -p d/sub n; printf 1 >d/a; ln d/a d/sub/h; mkfifo p; ln -s d l; chown 5:6 n; chmod 2711 d"), xattr("d", "user.x", "y")}
	want := m.make(t, nil, c, do...)
	for _, below := range []*storage.Layer{one, two, want} {
		if l := m.make(t, below, c, do...); l.DiffID() != want.DiffID() || l.Size() != want.Size() || l.Parent() != below {
			t.Errorf("on %v the layer is %s with %d bytes, want %s with %d", m.see(t, below), l.DiffID(), l.Size(), want.DiffID(), want.Size())
		}
	}
}

// repeat puts a layer on another, byte for byte.
func repeat(t *testing.T, open Implementation) {
	m := start(t, open)
	base := m.make(t, nil, workspace.Change{}, sh(before))
	do := []step{sh(before), sh("rm -r d/sub/deep; chmod 0 d/a; chown -h 5:6 d/l"), xattr("d/sub", "user.x", "y"), longNames}
	if tarfilter.MayMakeDevices() {
		do = append(do, sh("mknod null c 1 3"))
	}
	do = append(do, sh("find . -exec touch -h -d @1400000000.123456789 {} +; touch -h -d @1300000000 d/l d/sub"))
	for _, below := range []*storage.Layer{nil, base} {
		made, err := m.Make(t.Context(), below, workspace.Change{Apart: true}, in(do...))
		if err != nil {
			t.Fatal(err)
		}
		other := m.make(t, base, workspace.Change{}, sh("rm -r d/sub; printf x >d/x; rm e/h3"))
		for _, on := range []*storage.Layer{nil, other} {
			again, err := m.Repeat(t.Context(), on, made)
			if err == nil {
				err = again.Wait(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			if again.ID() == made.ID() || again.Parent() != on || again.DiffID() != made.DiffID() || again.Size() != made.Size() {
				t.Errorf("again it is %s with %d bytes, want %s with %d", again.DiffID(), again.Size(), made.DiffID(), made.Size())
			}
			same(t, "again", m.see(t, again), merged(m.see(t, on), m.see(t, m.make(t, nil, workspace.Change{Apart: true}, do...))))
		}
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	made := m.make(t, nil, workspace.Change{Apart: true}, do...)
	if _, err := m.Repeat(cancelled, base, made); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled repetition: %v", err)
	}
	m.remove(t, made)
	count := m.layers(t)
	if _, err := m.Repeat(t.Context(), base, made); !errors.Is(err, storage.ErrRemoved) {
		t.Errorf("a repetition of what was removed: %v", err)
	}
	if now := m.layers(t); now != count {
		t.Errorf("%d layers instead of %d", now, count)
	}
}
