//go:build linux

package builder_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
)

// addWhiteouts adds a layer to an image in an OCI layout that removes files: rm's words.
func addWhiteouts(t testing.TB, dir string, rm []string) {
	t.Helper()
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for _, name := range rm[1:] {
		if strings.HasPrefix(name, "-") {
			continue
		}
		ok(t, w.WriteHeader(&tar.Header{Name: path.Join(path.Dir(name), ".wh."+path.Base(name)), Typeflag: tar.TypeReg}))
	}
	ok(t, w.Close())
	addLayer(t, dir, layer.Bytes())
}

// addLayer adds a layer to the one image of an OCI layout.
func addLayer(t testing.TB, dir string, layer []byte) {
	t.Helper()
	blob := func(d digest.Digest) string { return filepath.Join(dir, "blobs", "sha256", d.Encoded()) }
	read := func(path string, v any) {
		t.Helper()
		data, err := os.ReadFile(path)
		ok(t, err)
		ok(t, json.Unmarshal(data, v))
	}
	write := func(v any) (digest.Digest, int64) {
		t.Helper()
		data, err := json.Marshal(v)
		ok(t, err)
		d := digest.FromBytes(data)
		ok(t, os.WriteFile(blob(d), data, 0o644))
		return d, int64(len(data))
	}
	var index imgspec.Index
	var manifest imgspec.Manifest
	var config imgspec.Image
	read(filepath.Join(dir, "index.json"), &index)
	read(blob(index.Manifests[0].Digest), &manifest)
	read(blob(manifest.Config.Digest), &config)
	d := digest.FromBytes(layer)
	ok(t, os.WriteFile(blob(d), layer, 0o644))
	config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, d)
	config.History = append(config.History, imgspec.History{CreatedBy: "a layer of the test's"})
	manifest.Layers = append(manifest.Layers, imgspec.Descriptor{MediaType: imgspec.MediaTypeImageLayer, Digest: d, Size: int64(len(layer))})
	manifest.Config.Digest, manifest.Config.Size = write(config)
	index.Manifests[0].Digest, index.Manifests[0].Size = write(manifest)
	data, err := json.Marshal(index)
	ok(t, err)
	ok(t, os.WriteFile(filepath.Join(dir, "index.json"), data, 0o644))
}
