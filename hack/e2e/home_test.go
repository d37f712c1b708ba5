//go:build linux

package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/hack/internal/home"
	"github.com/oakum-build/oakum/hack/internal/imagetree"
)

// A testHome is a home that fails its test.
type testHome struct {
	t     *testing.T
	home  *home.Home
	dir   string
	graph string // the store's root
}

// newHome makes a home that ends with the test.
func newHome(t *testing.T) *testHome {
	t.Helper()
	h, err := home.New(registry)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Remove(); err != nil {
			t.Error(err)
		}
	})
	return &testHome{t: t, home: h, dir: h.Dir, graph: h.Graph}
}

// write writes a file below the home and returns its path.
func (h *testHome) write(name, content string) string {
	h.t.Helper()
	path, err := h.home.Write(name, content)
	if err != nil {
		h.t.Fatal(err)
	}
	return path
}

// context makes a build context that has only a Dockerfile.
func (h *testHome) context(name, dockerfile string) string {
	h.t.Helper()
	return filepath.Dir(h.write(filepath.Join(name, "Dockerfile"), dockerfile))
}

func (h *testHome) command(name string, args ...string) *exec.Cmd {
	return h.home.Command(name, args...)
}

// try runs a command and returns its two streams and how it ended.
func (h *testHome) try(name string, args ...string) (stdout, stderr string, err error) {
	return h.home.Try(name, args...)
}

// run is try for a command that must succeed; it returns its standard output.
func (h *testHome) run(name string, args ...string) string {
	h.t.Helper()
	stdout, stderr, err := h.try(name, args...)
	if err != nil {
		h.t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, stdout, stderr)
	}
	return stdout
}

// buildah builds a context with Debian's buildah.
func (h *testHome) buildah(context, name, format string) {
	h.t.Helper()
	h.run("buildah", append(home.BuildahArgs(format), "-t", name, context)...)
}

// export reads an image of the store through skopeo.
func (h *testHome) export(name string) *imagetree.Image {
	h.t.Helper()
	dir := filepath.Join(h.t.TempDir(), "image")
	h.run("skopeo", "copy", "--quiet", "containers-storage:"+name, "dir:"+dir)
	image, err := imagetree.Read(dir)
	if err != nil {
		h.t.Fatalf("%s: %v", name, err)
	}
	return image
}

// compare reports where an image differs from the one that buildah built.
func compare(t *testing.T, got, buildah *imagetree.Image) {
	t.Helper()
	for _, difference := range imagetree.Compare(got, buildah) {
		t.Error(difference)
	}
	if len(buildah.Files) < 10 {
		t.Errorf("the reference has only %d files", len(buildah.Files))
	}
}
