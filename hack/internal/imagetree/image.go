package imagetree

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
)

// An Image is what an image holds.
type Image struct {
	Files Tree
	// Config is the configuration's "config" object as it is stored, thus with what
	// the OCI specification does not know (OnBuild, Healthcheck, Shell).
	Config map[string]any
	// Spec is the rest of the configuration.
	Spec imagespec.Image
	// Base is the image among those given to Read that this one was made from, or nil.
	Base *Image
}

// Read reads the image that skopeo copied to dir:DIR, and checks its layers against
// the diff ids of its configuration. The layers that it shares with one of bases are
// not read again.
func Read(dir string, bases ...*Image) (*Image, error) {
	var manifest imagespec.Manifest
	if err := readJSON(filepath.Join(dir, "manifest.json"), &manifest); err != nil {
		return nil, err
	}
	var image Image
	var raw struct{ Config map[string]any }
	config := filepath.Join(dir, manifest.Config.Digest.Encoded())
	if err := readJSON(config, &image.Spec); err != nil {
		return nil, err
	}
	if err := readJSON(config, &raw); err != nil {
		return nil, err
	}
	image.Config = raw.Config
	diffIDs := image.Spec.RootFS.DiffIDs
	if len(diffIDs) != len(manifest.Layers) {
		return nil, fmt.Errorf("%d layers and %d diff ids", len(manifest.Layers), len(diffIDs))
	}
	image.Base = image.longestBase(bases)
	image.Files = Tree{}
	from := 0
	if image.Base != nil {
		image.Files = maps.Clone(image.Base.Files)
		from = len(image.Base.Spec.RootFS.DiffIDs)
	}
	for i := from; i < len(diffIDs); i++ {
		got, err := image.Files.apply(filepath.Join(dir, manifest.Layers[i].Digest.Encoded()))
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		if want := diffIDs[i].String(); got != want {
			return nil, fmt.Errorf("layer %d has diff id %s, the configuration says %s", i, got, want)
		}
	}
	return &image, nil
}

// longestBase is the one of bases whose layers are the lowest of the image's.
func (i *Image) longestBase(bases []*Image) *Image {
	var longest *Image
	length := 0
	for _, base := range bases {
		ids := base.Spec.RootFS.DiffIDs
		if len(ids) <= length || len(ids) > len(i.Spec.RootFS.DiffIDs) {
			continue
		}
		same := true
		for n, id := range ids {
			same = same && id == i.Spec.RootFS.DiffIDs[n]
		}
		if same {
			longest, length = base, len(ids)
		}
	}
	return longest
}

func readJSON(name string, into any) error {
	content, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(content, into); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// ReadTar reads the files of an archive, compressed or not.
func ReadTar(name string) (Tree, error) {
	files := Tree{}
	_, err := files.apply(name)
	return files, err
}

// apply lays a layer, compressed or not, over the tree and returns its diff id.
func (files Tree) apply(name string) (string, error) {
	content, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	var layer io.Reader = bytes.NewReader(content)
	switch {
	case bytes.HasPrefix(content, []byte{0x1f, 0x8b}):
		layer, err = gzip.NewReader(layer)
	case bytes.HasPrefix(content, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		layer, err = zstd.NewReader(layer)
	}
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	tee := io.TeeReader(layer, sum)
	for tr := tar.NewReader(tee); ; {
		header, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return "", err
		}
		if err := files.put(header, tr); err != nil {
			return "", err
		}
	}
	if _, err := io.Copy(io.Discard, tee); err != nil {
		return "", err
	}
	return fmt.Sprintf("sha256:%x", sum.Sum(nil)), nil
}

// Changes are the lines of Tree.Lines for the paths that differ from the base, and
// "deleted" for those that are gone.
func (i *Image) Changes() map[string]string {
	lines := i.Files.Lines()
	if i.Base == nil {
		return lines
	}
	for name, line := range i.Base.Files.Lines() {
		now, ok := lines[name]
		switch {
		case !ok:
			lines[name] = "deleted"
		case now == line:
			delete(lines, name)
		}
	}
	return lines
}

// Settings are the configuration's entries by name, each as JSON, without what is not
// compared (history, times) and without what a builder adds of itself.
func (i *Image) Settings() map[string]string {
	settings := map[string]string{"author": i.Spec.Author, "architecture": i.Spec.Architecture,
		"variant": i.Spec.Variant, "os": i.Spec.OS, "os.version": i.Spec.OSVersion}
	maps.DeleteFunc(settings, func(_, value string) bool { return value == "" })
	for name, value := range NormalConfig(i.Config) {
		var text strings.Builder
		encoder := json.NewEncoder(&text)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(value); err != nil {
			panic(err) // it was decoded from JSON
		}
		settings[name] = strings.TrimSpace(text.String())
	}
	return settings
}

// NormalConfig is a "config" object without what each builder adds of itself, and
// without the empty values that the Docker format spells out.
func NormalConfig(config map[string]any) map[string]any {
	config = maps.Clone(config)
	delete(config, "Hostname") // of the build container
	if labels, ok := config["Labels"].(map[string]any); ok {
		labels = maps.Clone(labels)
		delete(labels, "io.buildah.version")
		config["Labels"] = labels
	}
	maps.DeleteFunc(config, func(_ string, value any) bool {
		switch value := value.(type) {
		case nil:
			return true
		case bool:
			return !value
		case string:
			return value == ""
		case []any:
			return len(value) == 0
		case map[string]any:
			return len(value) == 0
		}
		return false
	})
	return config
}
