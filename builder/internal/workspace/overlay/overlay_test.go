//go:build linux

package overlay

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/oakum-build/oakum/builder/internal/workspace"
	"github.com/oakum-build/oakum/builder/internal/workspace/workspacetest"
	"github.com/oakum-build/oakum/storage"
)

func TestMain(m *testing.M) { workspacetest.Main(m, os.Exit) }

func TestWorkspace(t *testing.T) {
	workspacetest.Run(t, workspacetest.Implementation{Store: storage.DriverOverlay, New: func(store *storage.Store, dir string, rootless bool) workspace.Driver {
		return New(store, dir, rootless)
	}})
}

// Mount points that the image only lacks are not made in the layer's directory, whichever are
// asked for: that would cost each command some milliseconds.
func TestStub(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	below, err := d.Make(t.Context(), nil, workspace.Change{}, func(w workspace.Workspace) error {
		return os.Mkdir(filepath.Join(w.Path(), "etc"), 0o755)
	})
	if err == nil {
		err = below.Wait(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, points := range [][]string{{"/dev/", "/etc/hosts"}, {"/etc/other", "/a/b/c/"}, {"/a", "/a/b", "/a/"}, {"/dev/", "/etc/hosts"}} {
		_, err := d.Make(t.Context(), below, workspace.Change{Mounts: points, Discard: true}, func(w workspace.Workspace) error {
			for _, p := range points[:2] {
				if _, err := os.Stat(filepath.Join(w.Path(), p)); err != nil && p != "/a/b" {
					t.Error(err)
				}
			}
			made, err := os.ReadDir(w.(*space).staging.Upper)
			if len(made) > 0 {
				t.Errorf("%q made %v", points, made)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func newDriver(t *testing.T) *Driver {
	t.Helper()
	rootless := workspacetest.Rootless()
	store, err := storage.Open(storage.Options{Root: t.TempDir(), Rootless: rootless})
	if err != nil {
		t.Fatal(err)
	}
	d := New(store, t.TempDir(), rootless)
	t.Cleanup(func() {
		if err := errors.Join(d.Close(), store.Close()); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestTooManyLayers(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	empty, err := d.empty()
	if err != nil {
		t.Fatal(err)
	}
	dirs := slices.Repeat([]*os.File{empty}, maxLowers+1)
	if _, err := d.mount(dirs, nil); !errors.Is(err, workspace.ErrTooMany) {
		t.Errorf("got %v", err)
	}
}
