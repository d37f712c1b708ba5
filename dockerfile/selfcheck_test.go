package dockerfile_test

import (
	"path/filepath"
	"testing"

	"github.com/oakum-build/oakum/dockerfile"
)

// TestHeredocsParentsAndLinks builds a Dockerfile that checks itself.
func TestHeredocsParentsAndLinks(t *testing.T) {
	dir := contextDir(t)
	_, err := dockerfile.Build(t.Context(), open(t), dockerfile.Options{
		Context: dockerfile.Context{Dir: dir}, File: dockerfile.File{Path: filepath.Join(dir, "language.Dockerfile")},
	})
	if err != nil {
		t.Fatal(explained(err))
	}
}
