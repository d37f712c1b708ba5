//go:build linux

package openat2

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// What others rename meanwhile is no reason to fail. Without trying again some of these do.
func TestOpenBesideRenames(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"a/b", "c", "d"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../a/b", filepath.Join(root, "c/link")); err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan error)
	go func() {
		from, to := filepath.Join(root, "d"), filepath.Join(root, "c/d")
		for {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			if err := os.Rename(from, to); err != nil {
				stopped <- err
				return
			}
			from, to = to, from
		}
	}()
	defer func() {
		close(stop)
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	}()
	dir, err := os.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for range 20000 {
		for _, name := range []string{"a/../c/link", "c/../a/../a/b"} {
			fd, err := Open(int(dir.Fd()), name, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			unix.Close(fd)
		}
	}
	if _, err := Open(int(dir.Fd()), "a/../none", &unix.OpenHow{Flags: unix.O_PATH, Resolve: unix.RESOLVE_IN_ROOT}); err != unix.ENOENT {
		t.Errorf("what is not there: %v", err)
	}
}
