//go:build linux

package outdir_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/oakum-build/oakum/builder/internal/outdir"
	"github.com/oakum-build/oakum/hack/deeptree"
)

// However deep trees are, what was not placed is removed, and what is to go from the directory.
func TestDeepTrees(t *testing.T) {
	t.Parallel()
	deeptree.WithFewFiles(t, func(top string) {
		dir := filepath.Join(top, "out")
		for _, place := range []bool{false, true} {
			d, err := outdir.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			inside := filepath.Join(dir, "d")
			if place {
				if err := os.Mkdir(inside, 0o755); err != nil {
					t.Fatal(err)
				}
				deeptree.Make(t, inside)
				if err := d.Place(true); err != nil {
					t.Error(err)
				}
			} else {
				deeptree.Make(t, d.Staged().Name())
			}
			if err := d.Close(); err != nil {
				t.Error(err)
			}
			if left, err := os.ReadDir(dir); place != (err == nil) || len(left) > 0 {
				t.Errorf("placed %v: left %v, %v", place, left, err)
			}
		}
	})
}

// A directory of the user's that is not to be removed keeps its mode, whatever is removed in it.
func TestModes(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "out")
	if err := os.MkdirAll(filepath.Join(dir, "kept", "gone", "closed"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"kept/gone/closed", "kept/gone", "kept"} {
		if err := os.Chmod(filepath.Join(dir, name), 0o555); err != nil {
			t.Fatal(err)
		}
	}
	d, err := outdir.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(d.Staged().Name(), "kept"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := d.Place(true); err != nil {
		t.Error(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	info, err := os.Stat(filepath.Join(dir, "kept"))
	if err != nil || info.Mode().Perm() != 0o555 {
		t.Errorf("kept is %v, %v", info, err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "kept")); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}
