//go:build linux

package builder_test

import (
	"testing"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/buildertest"
)

// The real Builder keeps what buildertest's does.
func TestSuite(t *testing.T) {
	t.Parallel()
	buildertest.Suite(t, buildertest.Implementation{Base: "busybox", Open: func(t *testing.T, opts builder.Options) *builder.Builder {
		opts.Root = tempDir(t)
		return openIn(t, opts)
	}})
}
