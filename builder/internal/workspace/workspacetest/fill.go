//go:build linux

package workspacetest

import (
	"errors"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/workspace"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/openat2"
)

// fill puts files into mount points, whatever the image has in their place. None of it is in the layer,
// and what the image has is back.
func fill(t *testing.T, open Implementation) {
	m := start(t, open)
	if !open.Fills {
		if _, err := m.Make(t.Context(), nil, workspace.Change{Fill: true}, in()); err == nil {
			t.Error("it is not refused")
		}
		return
	}
	const change = "mkdir -p made; printf x >made/file"
	for name, test := range imagesWithPoints {
		below := m.make(t, nil, workspace.Change{}, sh(test.image), old)
		if test.then != "" {
			below = m.make(t, below, workspace.Change{}, sh(test.then), old)
		}
		was := m.see(t, below)
		for _, apart := range []bool{false, true} {
			l := m.make(t, below, workspace.Change{Apart: apart, Fill: true, Mounts: points}, filled(t, name), sh(change))
			if got := m.top(t, l); got != "made/ made/file" {
				t.Errorf("%s: the layer has %s", name, got)
			}
			now := m.see(t, l)
			delete(now, "made")
			delete(now, "made/file")
			same(t, name, now, was)
		}
	}
	fillAndChange(t, m)
	fillKept(t, m)
}

// filled finds mount points empty and fills them, each in another way.
func filled(t *testing.T, name string) step {
	return func(dir string) error {
		root, err := os.OpenFile(dir, unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		defer root.Close()
		found := 0
		for i, p := range points {
			fd, err := openat2.Open(int(root.Fd()), p, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
			if err != nil || p == "/none" && strings.Contains(name, "others") {
				continue // as for a link in a circle, or what another one is in
			}
			at := os.NewFile(uintptr(fd), p)
			err = fillOne(at, i)
			at.Close()
			if err != nil {
				t.Errorf("%s: %s: %v", name, p, err)
			}
			found++
		}
		if found < 6 {
			t.Errorf("%s: only %d mount points are there", name, found)
		}
		return nil
	}
}

func fillOne(at *os.File, i int) error {
	st, err := at.Stat()
	if err != nil {
		return err
	}
	own := fdPath(at)
	if st.IsDir() != strings.HasSuffix(at.Name(), "/") {
		return errors.New("it is of another kind")
	}
	if !st.IsDir() {
		if st.Size() > 0 {
			return errors.New("it is not empty")
		}
		return errors.Join(os.WriteFile(own, []byte("filled"), 0), os.Chmod(own, 0o600|os.FileMode(i)))
	}
	if names, err := os.ReadDir(own); err != nil || len(names) > 0 && !slices.Contains(points, path.Join(at.Name(), names[0].Name())+"/") {
		return errors.Join(err, errors.New("it is not empty"))
	}
	return errors.Join(os.Chmod(own, 0o700|os.FileMode(i)), sh("mkdir -p sub/sub; echo x >sub/sub/x; ln sub/sub/x y; ln -s /nowhere z; mkfifo p; chmod 0 sub")(own))
}

// fillAndChange changes what is around mount points, and does to them what nobody can do to real mounts.
func fillAndChange(t *testing.T, m *machine) {
	below := m.make(t, nil, workspace.Change{}, sh("mkdir -p etc dev d/sub/dir other; printf h >etc/hosts; ln etc/hosts other/link; touch dev/x d/mount d/sub/dir/kept; ln -s /d l"), old)
	for name, test := range map[string]struct{ do, want string }{
		"nothing":                                {"true", ""},
		"a file beside":                          {"touch etc/new", "etc/ etc/new"},
		"another file over it":                   {"printf x >new; mv new etc/hosts", "etc/"},
		"it is removed":                          {"rm etc/hosts; rm -r dev", "etc/"},
		"other kinds":                            {"rm -r etc/hosts d/sub/dir; mkdir -p etc/hosts/x; touch d/sub/dir", "d/ d/sub/ etc/"},
		"around it all goes":                     {"rm -r d", ".wh.d"},
		"its directory is another":               {"rm -r d; mkdir d; touch d/new", "d/ d/.wh..wh..opq d/new"},
		"its directory is moved":                 {"mv d e", ".wh.d e/ e/mount e/sub/ e/sub/dir/ e/sub/dir/kept"},
		"what it has is changed by another name": {"printf more >>other/link", "etc/ etc/hosts other/ other/link"},
	} {
		l := m.make(t, below, workspace.Change{Fill: true, Mounts: points}, sh(test.do))
		got := strings.Fields(m.top(t, l))
		if want := strings.Fields(test.want); !slices.Equal(got, want) {
			t.Errorf("%s: the layer has %q, want %q", name, got, want)
		}
		m.see(t, l)
	}
}

func fillKept(t *testing.T, m *machine) {
	for _, below := range []*storage.Layer{nil, m.make(t, nil, workspace.Change{}, sh("mkdir dev; touch dev/x"))} {
		l := m.make(t, below, workspace.Change{Fill: true, Mounts: points, Kept: []string{"/dev", "/proc"}}, filled(t, "kept"))
		want := "dev/ proc/"
		if below != nil {
			want = "proc/"
		}
		if got := m.top(t, l); got != want {
			t.Errorf("the layer has %s, want %s", got, want)
		}
		m.see(t, l)
	}
}
