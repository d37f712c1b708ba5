//go:build linux

package conformance

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/hack/internal/home"
	"github.com/oakum-build/oakum/hack/internal/imagetree"
)

// A world is what all cases share: a store that has the base images, and a web server
// of the cases' directories.
type world struct {
	home     *home.Home
	env      []string
	oakum    string // the binary under test
	cases    string // the directory of the cases' directories
	url      string // the same directory, by HTTP
	registry string
	bases    []*imagetree.Image
}

// seeds are the base images that cases start from.
var seeds = []string{"docker.io/library/busybox:1.36", "docker.io/library/busybox:latest",
	"docker.io/library/alpine:3"}

// newWorld makes a world that ends with the test.
func newWorld(t *testing.T) *world {
	t.Helper()
	checkout, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	w := &world{oakum: filepath.Join(checkout, "bin", "oakum")}
	if w.registry, err = home.Registry(ctx, checkout); err != nil {
		t.Fatal(err)
	}
	if w.home, err = home.New(w.registry); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.home.Remove(); err != nil {
			t.Error(err)
		}
	})
	// Where the home's own removal reaches files of any mode and owner.
	w.cases = filepath.Join(w.home.Dir, "data", "cases")
	server := httptest.NewServer(http.FileServer(http.Dir(w.cases)))
	t.Cleanup(server.Close)
	w.url = server.URL
	// Buildah keeps caches in TMPDIR, by names that are the same for all users.
	temp := filepath.Join(w.home.Dir, "data", "tmp")
	if err := os.MkdirAll(temp, 0o755); err != nil {
		t.Fatal(err)
	}
	w.env = append(slices.DeleteFunc(w.home.Env, builderSetting), "TMPDIR="+temp)
	for _, name := range seeds {
		if _, stderr, err := w.home.Try("buildah", "pull", "--quiet", name); err != nil {
			t.Fatalf("buildah pull %s: %v\n%s", name, err, stderr)
		}
		base, err := w.read(name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		w.bases = append(w.bases, base)
	}
	return w
}

// builderSetting reports whether a variable of the environment would change what the
// builders do.
func builderSetting(variable string) bool {
	name, _, _ := strings.Cut(variable, "=")
	name = strings.ToUpper(name)
	return strings.HasSuffix(name, "_PROXY") || strings.HasPrefix(name, "BUILDAH_") ||
		strings.HasPrefix(name, "BUILDKIT_") || name == "SOURCE_DATE_EPOCH"
}

// read reads an image of the store.
func (w *world) read(name string, bases ...*imagetree.Image) (*imagetree.Image, error) {
	dir, err := os.MkdirTemp(w.home.Dir, "image-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if _, stderr, err := w.home.Try("skopeo", "copy", "--quiet", "containers-storage:"+name, "dir:"+dir); err != nil {
		return nil, fmt.Errorf("skopeo: %w\n%s", err, stderr)
	}
	return imagetree.Read(dir, bases...)
}
