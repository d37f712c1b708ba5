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
)

// A layer's root is what all roots are, whatever was done to it, and on whatever it is made.
func TestRootOfALayer(t *testing.T) {
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
	t.Parallel()
	s := open(t)
	_, err := s.MakeLayer(t.Context(), nil, func(st Staging) error {
		return errors.Join(os.MkdirAll(filepath.Join(st.Upper, "a/b"), 0o755), os.WriteFile(filepath.Join(st.Upper, "a/b/.wh.c"), nil, 0o644))
	})
	if !errors.Is(err, ErrUnfit) || !strings.Contains(err.Error(), `"/a/b/.wh.c"`) {
		t.Errorf("got %v", err)
	}
	if status, err := s.Status(); err != nil || status.Layers != 0 {
		t.Errorf("%d layers, %v", status.Layers, err)
	}
}
