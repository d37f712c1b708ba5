//go:build linux

package storage

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	cs "go.podman.io/storage"
	"go.podman.io/storage/pkg/lockfile"
	"golang.org/x/sys/unix"
)

func TestRemoveStore(t *testing.T) {
	root := filepath.Join(t.TempDir(), "store")
	opts := options(root)
	s, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	img := commit(t, s, layer(t, s, nil, "f", ""), "app")
	refused := func(why string) {
		t.Helper()
		if err := RemoveStore(opts); !errors.Is(err, ErrInUse) {
			t.Errorf("%s: %v", why, err)
		}
		if images, err := s.Images(); err != nil || len(images) != 1 {
			t.Fatalf("%s: %d images, %v", why, len(images), err)
		}
	}
	refused("a store that is open")
	if err := unix.Flock(int(s.lock.Fd()), unix.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	lock, err := lockfile.GetLockFile(filepath.Join(root, storeLock))
	if err != nil {
		t.Fatal(err)
	}
	lock.Lock()
	err = RemoveStore(opts)
	lock.Unlock()
	if !errors.Is(err, ErrInUse) {
		t.Errorf("a store that is written to: %v", err)
	}
	containers := map[string]bool{"a container": false, "a container that goes when it ends": true}
	if driver() != DriverOverlay {
		clear(containers) // there are none with the driver tree
	}
	for why, volatile := range containers {
		c, err := s.cs.CreateContainer("", nil, img.ID, "", "", &cs.ContainerOptions{Volatile: volatile})
		if err != nil {
			t.Fatal(err)
		}
		refused(why)
		if err := s.cs.DeleteContainer(c.ID); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	// As Podman of root mounts it.
	if dir := filepath.Join(root, "overlay"); driver() == DriverOverlay {
		if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	}
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(root, driver()+"-layers", "layers.json"), "no JSON")
	write(filepath.Join(root, driver()+"-containers", "containers.json"), "no JSON")
	if err := os.Mkdir(filepath.Join(root, "volumes"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := RemoveStore(opts); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(root); err != nil || len(left) != 1 || left[0].Name() != "volumes" {
		t.Errorf("left: %v, %v", left, err)
	}
}

// Only what containers/storage has made is removed.
func TestRemoveNoStore(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	kept := filepath.Join(root, "overlay", "file")
	if err := errors.Join(os.Mkdir(filepath.Dir(kept), 0o700), os.WriteFile(kept, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := RemoveStore(Options{Root: root}); !errors.Is(err, ErrNoStore) {
			t.Errorf("a directory that is no store: %v", err)
		}
		if _, err := os.Stat(kept); err != nil {
			t.Error(err)
		}
		// A link is nothing that the library makes.
		_ = os.Symlink("overlay/file", filepath.Join(root, storeLock))
	}
	if err := RemoveStore(Options{Root: filepath.Join(root, "nowhere")}); err != nil {
		t.Errorf("no directory: %v", err)
	}
}

// With a store, that of the other driver in the same root is removed, unless that is in use.
//
// It is not run beside tests that start processes: until such a one has executed its program it has a copy of the
// lock of a store that is closed meanwhile.
func TestRemoveBothStores(t *testing.T) {
	root := filepath.Join(t.TempDir(), "store")
	both := []string{DriverTree}
	if driver() == DriverOverlay {
		both = append(both, DriverOverlay)
	}
	for _, driver := range both {
		opts := options(root)
		opts.Driver = driver
		s, err := Open(opts)
		if err != nil {
			t.Fatal(err)
		}
		layer(t, s, nil, "f", "")
		for _, asked := range both {
			opts.Driver = asked
			if err := RemoveStore(opts); !errors.Is(err, ErrInUse) {
				t.Errorf("%s, while that with %s is open: %v", asked, driver, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := RemoveStore(options(root)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left: %v", err)
	}
}
