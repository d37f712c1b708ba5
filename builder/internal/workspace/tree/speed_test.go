//go:build linux

package tree

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/oakum-build/oakum/builder/internal/workspace"
	"github.com/oakum-build/oakum/builder/internal/workspace/workspacetest"
	"github.com/oakum-build/oakum/storage"
)

// many makes files, a hundred in a directory.
func many(dir string, count int) error {
	for i := range count {
		if i%100 == 0 {
			if err := os.Mkdir(fmt.Sprintf("%s/%d", dir, i/100), 0o755); err != nil {
				return err
			}
		}
		if err := os.WriteFile(fmt.Sprintf("%s/%d/a-name-as-long-as-usual-%d", dir, i/100, i), []byte("x"), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// What a step costs beside what it does: finding what has changed among 10,000 files.
func BenchmarkStep(b *testing.B) {
	store, err := storage.Open(storage.Options{Root: b.TempDir(), Driver: storage.DriverTree, Rootless: workspacetest.Rootless()})
	if err != nil {
		b.Fatal(err)
	}
	d := New(store)
	l, err := d.Make(b.Context(), nil, workspace.Change{}, func(w workspace.Workspace) error { return many(w.Path(), 10000) })
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; b.Loop(); i++ {
		if l, err = d.Make(b.Context(), l, workspace.Change{Mounts: []string{"/dev/", "/etc/hosts"}}, func(w workspace.Workspace) error {
			return os.WriteFile(w.Path()+"/changed", fmt.Append(nil, i), 0o644)
		}); err != nil {
			b.Fatal(err)
		}
		if i%100 == 99 { // a store takes no more layers on each other than 500
			if err := l.Wait(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.StopTimer()
	if err := errors.Join(l.Wait(b.Context()), d.Close(), store.Close()); err != nil {
		b.Fatal(err)
	}
}
