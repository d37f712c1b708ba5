//go:build linux

package builder_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
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

// layout is an OCI layout with one image, to be tampered with.
type layout struct {
	t        testing.TB
	dir      string
	index    imgspec.Index
	manifest imgspec.Manifest
}

func openLayout(t testing.TB, dir string) *layout {
	t.Helper()
	l := &layout{t: t, dir: dir}
	l.read(filepath.Join(dir, "index.json"), &l.index)
	l.read(l.blob(l.index.Manifests[0].Digest), &l.manifest)
	return l
}

func (l *layout) blob(d digest.Digest) string {
	return filepath.Join(l.dir, "blobs", "sha256", d.Encoded())
}

func (l *layout) read(path string, v any) {
	l.t.Helper()
	data, err := os.ReadFile(path)
	ok(l.t, err)
	ok(l.t, json.Unmarshal(data, v))
}

func (l *layout) write(data []byte) (digest.Digest, int64) {
	l.t.Helper()
	d := digest.FromBytes(data)
	ok(l.t, os.WriteFile(l.blob(d), data, 0o644))
	return d, int64(len(data))
}

func (l *layout) save() {
	l.t.Helper()
	data, err := json.Marshal(l.manifest)
	ok(l.t, err)
	l.index.Manifests[0].Digest, l.index.Manifests[0].Size = l.write(data)
	data, err = json.Marshal(l.index)
	ok(l.t, err)
	ok(l.t, os.WriteFile(filepath.Join(l.dir, "index.json"), data, 0o644))
}

// addLayer adds a layer to the one image of an OCI layout.
func addLayer(t testing.TB, dir string, layer []byte) {
	t.Helper()
	addLayerAs(t, dir, layer, layer, imgspec.MediaTypeImageLayer)
}

// addPackedLayer is addLayer of a layer that gzip has packed.
func addPackedLayer(t testing.TB, dir string, packed []byte) {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(packed))
	ok(t, err)
	plain, err := io.ReadAll(z)
	ok(t, err)
	addLayerAs(t, dir, plain, packed, imgspec.MediaTypeImageLayerGzip)
}

func addLayerAs(t testing.TB, dir string, plain, layer []byte, mediaType string) {
	t.Helper()
	l := openLayout(t, dir)
	var config imgspec.Image
	l.read(l.blob(l.manifest.Config.Digest), &config)
	d, size := l.write(layer)
	config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(plain))
	config.History = append(config.History, imgspec.History{CreatedBy: "a layer of the test's"})
	l.manifest.Layers = append(l.manifest.Layers, imgspec.Descriptor{MediaType: mediaType, Digest: d, Size: size})
	data, err := json.Marshal(config)
	ok(t, err)
	l.manifest.Config.Digest, l.manifest.Config.Size = l.write(data)
	l.save()
}

// setConfig gives the one image of an OCI layout another configuration.
func setConfig(t testing.TB, dir, config string) {
	t.Helper()
	l := openLayout(t, dir)
	l.manifest.Config.Digest, l.manifest.Config.Size = l.write([]byte(config))
	l.save()
}
