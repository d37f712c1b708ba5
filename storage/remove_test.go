//go:build linux

package storage

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/oakum-build/oakum/hack/deeptree"
	"github.com/oakum-build/oakum/storage/usage"
)

// Whatever a step makes can be removed: when it fails, when its layer is removed or pruned,
// and by the next process when this one was killed.
func TestDeepTrees(t *testing.T) {
	ofOverlay(t)
	t.Parallel()
	deeptree.WithFewFiles(t, func(root string) { withFewFiles(t, root) })
}

func withFewFiles(t *testing.T, root string) {
	s := openIn(t, root)
	failed := errors.New("failed")
	if _, err := s.MakeLayer(t.Context(), nil, func(st Staging) error { deeptree.Make(t, st.Upper); return failed }); !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
	scratch, err := s.Scratch()
	if err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	// Layers of build steps, of an image and not.
	for _, named := range []bool{true, false} {
		l := layer(t, s, nil, "file", "")
		deeptree.Make(t, l.path)
		if named {
			commit(t, s, l, "app")
			_, err = s.Remove("app", false, false)
		} else {
			_, err = s.Prune(t.Context(), usage.Options{})
		}
		if err != nil {
			t.Error(err)
		}
	}
	// What a killed process left: of a step, and of a layer that was just being removed.
	temp := s.temp.Name()
	dead, deleted := filepath.Join(temp, "0123456789abcdef"), filepath.Join(filepath.Dir(temp), "temp-dir-1")
	for _, dir := range []string{dead, filepath.Join(temp, "without a lock"), deleted} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		deeptree.Make(t, dir)
	}
	for _, file := range []string{dead + ".lock", filepath.Join(filepath.Dir(temp), "lock-1")} {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	s.cs.Free()
	s = openIn(t, root)
	if ids := layerIDs(t, s); len(ids) > 0 {
		t.Errorf("left: %v", ids)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	found, err := filepath.Glob(filepath.Join(root, "overlay", "*"))
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob(filepath.Join(root, "overlay/tempdirs", "*"))
	if err != nil {
		t.Fatal(err)
	}
	inside, err := os.ReadDir(temp)
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 3 || len(more) != 1 || len(inside) > 0 { // a mark, l and tempdirs; oakum
		t.Errorf("left: %v, %v, %v", found, more, inside)
	}
}
