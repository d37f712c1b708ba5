//go:build linux

package builder_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/oakum-build/oakum/builder"
)

func TestRemoveStore(t *testing.T) {
	t.Parallel()
	root := filepath.Join(tempDir(t), "store")
	opts := builder.Options{Root: root}
	b := openIn(t, opts)
	s := scratch(t, b)
	_, err := s.Copy(t.Context(), "/d", builder.Dir(tree(t, map[string]string{"sub/f": "f"})).Chown("1234:4321").Chmod("700"))
	ok(t, err)
	is(t, builder.RemoveStore(t.Context(), opts), builder.ErrInUse)
	_, err = s.Commit(t.Context(), "app", builder.CommitOptions{})
	ok(t, err)
	ok(t, b.Close())

	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	is(t, builder.RemoveStore(cancelled, opts), context.Canceled)
	is(t, builder.RemoveStore(t.Context(), builder.Options{Root: filepath.Join(root, "overlay")}), builder.ErrInvalid)
	b = openIn(t, opts)
	_, err = b.Inspect(t.Context(), "app")
	ok(t, err)
	ok(t, b.Close())

	for range 2 { // the second time there is nothing
		ok(t, builder.RemoveStore(t.Context(), opts))
		if _, err := os.Stat(root); !errors.Is(err, os.ErrNotExist) {
			left, _ := os.ReadDir(filepath.Join(root, "run"))
			t.Errorf("the store is still there: %v, %v", err, left)
		}
	}
}
