//go:build linux

package storage

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/hack/chaos"
	"github.com/oakum-build/oakum/storage/authfile/authtest"
	"github.com/oakum-build/oakum/storage/compression"
	"github.com/oakum-build/oakum/storage/platform"
)

// Layers of each compression are what skopeo reads from wherever they are written to, and what comes
// back from there: the same image, and from a registry and back the same manifest.
func TestCompressionsComeBack(t *testing.T) {
	logins := authtest.Write(t, filepath.Join(authtest.Home(t), "auth.json"), "{}")
	s := open(t)
	var top *Layer
	for _, name := range []string{"f", "g"} {
		top = layer(t, s, top, name, strings.Repeat(name, 100<<10))
	}
	img := commit(t, s, top, "app")
	r := chaos.New(t)
	for algorithm, mediaType := range map[string]string{
		compression.Gzip: imgspec.MediaTypeImageLayerGzip, compression.Zstd: imgspec.MediaTypeImageLayerZstd,
		compression.ZstdChunked: imgspec.MediaTypeImageLayerZstd, compression.Uncompressed: imgspec.MediaTypeImageLayer,
	} {
		choice := compression.Choice{Algorithm: algorithm, Force: true}
		dir, repository := t.TempDir(), strings.ReplaceAll(algorithm, ":", "-")
		for _, place := range []string{"docker://" + r.Host + "/" + repository + ":1", "oci:" + dir + "/layout:x", "oci-archive:" + dir + "/archive.tar:x"} {
			label := algorithm + ", " + place
			if _, err := s.Push(t.Context(), img.ID, place, PushOptions{Compression: choice}, patient()); err != nil {
				t.Errorf("%s: %v", label, err)
				continue
			}
			copied := filepath.Join(t.TempDir(), "copied")
			if out, err := exec.Command("skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", "--authfile", logins, "--preserve-digests", place, "oci:"+copied+":x").CombinedOutput(); err != nil {
				t.Errorf("%s: skopeo: %v\n%s", label, err, out)
			}
			raw, err := exec.Command("skopeo", "--insecure-policy", "inspect", "--raw", "oci:"+copied+":x").Output()
			var m imgspec.Manifest
			if err == nil {
				err = json.Unmarshal(raw, &m)
			}
			if err != nil || len(m.Layers) != 2 || slices.ContainsFunc(m.Layers, func(l imgspec.Descriptor) bool { return l.MediaType != mediaType }) {
				t.Errorf("%s: %v; the layers are %+v, want %s", label, err, m.Layers, mediaType)
			}
			other := open(t)
			back, err := other.Pull(t.Context(), place, platform.Platform{}, patient())
			if err != nil || back.ID != img.ID {
				t.Errorf("%s: it came back as %q, %v, want %s", label, back.ID, err, img.ID)
				continue
			}
			onward := PushOptions{}
			if algorithm == compression.Uncompressed { // else compressed, as layers of the store are
				onward.Compression.Algorithm = algorithm
			}
			if _, err := other.Push(t.Context(), back.ID, r.Host+"/"+repository+"/again:1", onward, patient()); err != nil {
				t.Errorf("%s, and on: %v", label, err)
			}
			_, before := r.Manifest(repository, "1")
			if _, after := r.Manifest(repository+"/again", "1"); strings.HasPrefix(place, "docker://") && string(after) != string(before) {
				t.Errorf("%s: from the registry and back, the manifest is\n%s\nand was\n%s", label, after, before)
			}
		}
	}
}
