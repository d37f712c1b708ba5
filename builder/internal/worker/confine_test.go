//go:build linux

package worker

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// What a layout has is what it had when it was opened, whatever comes into its place, and no link in
// it leads anywhere.
func TestConfinedLayout(t *testing.T) {
	t.Parallel()
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "secret")
	blobs := filepath.Join(dir, "blobs", "sha256")
	ok := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	ok(os.WriteFile(outside, []byte("secret"), 0o600), os.MkdirAll(filepath.Join(blobs, "deep"), 0o755))
	ok(os.WriteFile(dir+"/index.json", []byte("index"), 0o644), os.WriteFile(blobs+"/a", []byte("a"), 0o644), os.WriteFile(blobs+"/deep/b", nil, 0o644))
	ok(os.Symlink(outside, blobs+"/out"), os.Symlink("a", blobs+"/in"), unix.Mkfifo(blobs+"/pipe", 0o600))
	f, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	ok(err)
	defer f.Close()
	c, err := (&worker{tmpfs: tmpfs{mnt: t.TempDir()}}).confineDir(f)
	ok(err)
	ok(os.Remove(dir+"/index.json"), os.Symlink(outside, dir+"/index.json"), os.Rename(filepath.Dir(blobs), dir+"/old"), os.Symlink(filepath.Dir(outside), dir+"/blobs"))
	for name, want := range map[string]string{"index.json": "index", "blobs/sha256/a": "a"} {
		if got, err := os.ReadFile(filepath.Join(c.path, name)); err != nil || string(got) != want {
			t.Errorf("%s is %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"blobs/sha256/out", "blobs/sha256/in"} {
		if got, err := os.ReadFile(filepath.Join(c.path, name)); !errors.Is(err, unix.ELOOP) {
			t.Errorf("%s is %q, %v", name, got, err)
		}
	}
	for name, want := range map[string]error{"blobs/sha256/deep": os.ErrNotExist, "blobs/secret": os.ErrNotExist, "old": os.ErrNotExist, "blobs/sha256/pipe": nil} {
		if _, err := os.Stat(filepath.Join(c.path, name)); !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ok(c.close())
	if _, err := os.Lstat(c.path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is left: %v", err)
	}
	if got, err := os.ReadFile(outside); err != nil || string(got) != "secret" {
		t.Errorf("outside is %q, %v", got, err)
	}
}
