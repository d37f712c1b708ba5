//go:build linux

package storage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/internal/layertar"
	"github.com/oakum-build/oakum/storage/tarfilter"
)

// A layer's root is what all roots are, whatever was done to it, and on whatever it is made.
func TestRootOfALayer(t *testing.T) {
	ofOverlay(t)
	t.Parallel()
	s := open(t)
	var below *Layer
	for name, change := range map[string]func(root string) error{
		"nothing": func(string) error { return nil },
		"all": func(root string) error {
			return errors.Join(os.Chown(root, 3, 4), unix.Chmod(root, 0o1711), unix.Setxattr(root, "user.x", []byte("y"), 0), unix.Setxattr(root, "user.containers.override_stat", []byte("0:0:0700"), 0))
		},
		"owner": func(root string) error { return os.Chown(root, 0, 4) },
	} {
		l, err := s.MakeLayer(t.Context(), below, func(st Staging) error { return change(st.Upper) })
		if err == nil {
			err = l.Wait(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		below = l
		var st unix.Stat_t
		if err := unix.Stat(l.path, &st); err != nil {
			t.Fatal(err)
		}
		attrs, err := layertar.Xattrs(l.path + "/.")
		if err != nil {
			t.Fatal(err)
		}
		attrs = strings.Fields(strings.ReplaceAll(strings.Join(attrs, " "), "security.selinux", ""))
		if got := fmt.Sprintf("%o %d:%d %q", st.Mode, st.Uid, st.Gid, attrs); got != "40555 0:0 []" {
			t.Errorf("%s: the root is %s", name, got)
		}
		if told := len(l.Notices()) == 1; told != (name != "nothing") {
			t.Errorf("%s: %q", name, l.Notices())
		}
	}
}

// What does not fit into a layer is found before anything is built on it, and leaves nothing.
func TestUnfitFiles(t *testing.T) {
	ofOverlay(t)
	t.Parallel()
	s := open(t)
	_, err := s.MakeLayer(t.Context(), nil, func(st Staging) error {
		return errors.Join(os.MkdirAll(filepath.Join(st.Upper, "a/b"), 0o755), os.WriteFile(filepath.Join(st.Upper, "a/b/.wh.c"), nil, 0o644))
	})
	if !errors.Is(err, tarfilter.ErrUnfit) || !strings.Contains(err.Error(), `"/a/b/.wh.c"`) {
		t.Errorf("got %v", err)
	}
	if status, err := s.Status(); err != nil || status.Layers != 0 {
		t.Errorf("%d layers, %v", status.Layers, err)
	}
}

// What was filled without an overlay has no marks of overlay's: what looks like one hides and
// removes nothing.
func TestPlainFiles(t *testing.T) {
	ofOverlay(t)
	t.Parallel()
	s := open(t)
	below := layer(t, s, nil, "f", "")
	plain := func(fill func(root string) error) (*Layer, error) {
		l, err := s.MakeLayer(t.Context(), below, func(st Staging) error {
			st.Plain()
			return fill(st.Upper)
		})
		if err == nil {
			err = l.Wait(t.Context())
		}
		return l, err
	}
	l, err := plain(func(root string) error {
		return errors.Join(os.Mkdir(filepath.Join(root, "d"), 0o755), unix.Setxattr(filepath.Join(root, "d"), s.overlayAttr()+"opaque", []byte("y"), 0),
			unix.Setxattr(root, s.overlayAttr()+"opaque", []byte("y"), 0))
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{l.path, l.path + "/d"} {
		if attrs, err := layertar.Xattrs(path); err != nil || strings.Contains(strings.Join(attrs, " "), "overlay") {
			t.Errorf("%s has %q, %v", path[len(l.path):], attrs, err)
		}
	}
	if told := strings.Join(l.Notices(), " "); !strings.Contains(told, s.overlayAttr()+"opaque of /d") {
		t.Errorf("told %q", told)
	}
	l, err = plain(func(root string) error { return unix.Mknod(filepath.Join(root, "f"), unix.S_IFCHR|0o600, 0) })
	if !errors.Is(err, tarfilter.ErrUnfit) || !strings.Contains(err.Error(), "/f is a character device") {
		t.Errorf("a whiteout: %v, %v", l, err)
	}
}
