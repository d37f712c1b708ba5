//go:build linux

package buildertest_test

import (
	"errors"
	"os"
	"testing"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/buildertest"
)

// A store goes with its test, whoever owns the files in it.
func TestStore(t *testing.T) {
	t.Parallel()
	var root string
	t.Run("builds", func(t *testing.T) {
		root = buildertest.Store(t)
		b, err := builder.Open(t.Context(), builder.Options{Root: root})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		s, err := b.Stage(t.Context(), builder.Scratch, builder.StageOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Copy(t.Context(), "/dir", builder.Dir(".").Chown("1234:4321").Chmod("700")); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(root); err != nil {
			t.Fatal(err)
		}
	})
	if _, err := os.Stat(root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the store is still there: %v", err)
	}
}
