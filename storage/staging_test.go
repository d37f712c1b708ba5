//go:build linux

package storage

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	cs "go.podman.io/storage"

	"github.com/oakum-build/oakum/storage/internal/treedriver"
)

// staged are the tars in a store that are no layer's yet.
func staged(t *testing.T, root string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(root, "tree", "staged-*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Nobody waits for a layer that is still being fetched, and nothing is left of one that is not whole.
func TestStaging(t *testing.T) {
	root := t.TempDir()
	s := openTree(t, root)
	data := aTar(t, "f", "of a slow layer")
	put := func(from io.Reader) <-chan error {
		done := make(chan error, 1)
		go func() {
			_, _, err := s.cs.PutLayer("", "", nil, "", false, &cs.LayerOptions{}, from)
			done <- err
		}()
		return done
	}
	from, to := io.Pipe()
	slow := put(from)
	if _, err := to.Write(data[:600]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the layer is staged", func() bool { return len(staged(t, root)) == 1 })
	within := make(chan error, 1)
	go func() {
		l, err := s.MakeTar(context.Background(), nil, func(w io.Writer) ([]string, error) {
			_, err := w.Write(aTar(t, "g", "of a quick one"))
			return nil, err
		})
		if err == nil {
			err = l.Wait(context.Background())
		}
		within <- err
	}()
	select {
	case err := <-within:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(2 * time.Minute):
		t.Error("a layer is not made while another one comes")
	}
	if len(staged(t, root)) != 1 {
		t.Errorf("staged: %q", staged(t, root))
	}
	if err := sweeps(root); err != nil || len(staged(t, root)) != 1 {
		t.Errorf("another store has taken away what is used: %v", err)
	}
	_, err := to.Write(data[600:])
	if err = errors.Join(err, to.Close(), <-slow); err != nil {
		t.Error(err)
	}
	layers, err := s.cs.Layers()
	if err != nil || len(layers) != 2 {
		t.Errorf("%d layers, %v", len(layers), err)
	}
	// One that ends too early is none, and what a killed process has left goes.
	if err := <-put(bytes.NewReader(data[:300])); err == nil {
		t.Error("a part of a layer was taken")
	}
	if left := staged(t, root); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	if err := os.WriteFile(filepath.Join(root, "tree", "staged-123"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := sweeps(root); err != nil || len(staged(t, root)) > 0 {
		t.Errorf("left: %q, %v", staged(t, root), err)
	}
}

// sweeps does what opening the driver once more does.
func sweeps(root string) error { return treedriver.Sweep(filepath.Join(root, "tree")) }
