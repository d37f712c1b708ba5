//go:build linux

package storage

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/storage/remotecache"
)

// Of images that are added to one layout at the same time each has its entry in the end, and what a cache writes there meanwhile.
func TestLayoutOfTwo(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "layout")
	adding := func(name string, meanwhile func()) {
		err := intoLayout(path, func(dir, _ string) error {
			meanwhile()
			index, err := json.Marshal(imgspec.Index{Manifests: []imgspec.Descriptor{{Digest: "sha256:" + "0", Annotations: map[string]string{imgspec.AnnotationRefName: name}}}})
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, imgspec.ImageLayoutFile), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, imgspec.ImageIndexFile), index, 0o644)
		})
		if err != nil {
			t.Error(err)
		}
	}
	adding("one", func() {
		adding("two", func() {})
		adding("three", func() {
			l, err := remotecache.OpenLayout(path, "cache", true)
			if err == nil {
				err = l.Put(t.Context(), remotecache.ManifestName, 2, strings.NewReader("{}"))
			}
			if err != nil {
				t.Error(err)
			}
			_ = l.Close()
		})
	})
	adding("two", func() {})
	raw, err := os.ReadFile(filepath.Join(path, imgspec.ImageIndexFile))
	if err != nil {
		t.Fatal(err)
	}
	var index imgspec.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range index.Manifests {
		names = append(names, m.Annotations[imgspec.AnnotationRefName])
	}
	if got := strings.Join(names, " "); got != "two cache three one" {
		t.Errorf("the index has %q", got)
	}
	if left, _ := filepath.Glob(filepath.Join(path, ".*")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}
