package buildertest

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/oakum-build/oakum/builder"
)

// Store gives the directory of a store for a test of the real Builder, which goes with the
// test (builder.Options.Root). An ordinary user cannot remove the files of subordinate ids that
// come to be in it, so that a store in t.TempDir() itself would fail the test. All Builders
// must be closed by then: by a t.Cleanup that comes after Store, or before.
func Store(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	t.Cleanup(func() {
		// The test's own context has ended.
		if err := builder.RemoveStore(context.Background(), builder.Options{Root: dir}); err != nil {
			t.Errorf("removing the test's store: %v", err)
		}
	})
	return dir
}
