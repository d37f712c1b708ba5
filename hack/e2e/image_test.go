package e2e

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A file is what is compared of a file in an image. Modification times are not.
type file struct {
	Type     byte // as in tar, but a hard link is the file it is linked to
	Mode     int64
	UID, GID int
	Content  string // digest
	Target   string // of a symbolic link
	Device   string
	Xattrs   map[string]string
	inode    *string // the same pointer for all names of one file
}

// A tree is an image's files by path, without leading slash.
type tree map[string]*file

// An exported image is what an OCI layout says of it.
type exported struct {
	files  tree
	config imagespec.Image
	// raw is the configuration's "config" object with what the OCI specification
	// does not know (OnBuild, Healthcheck, Shell).
	raw map[string]any
}

// export reads an image of the store through skopeo, and checks its digests.
func (h *home) export(name string) exported {
	h.t.Helper()
	layout := filepath.Join(h.t.TempDir(), "layout")
	h.run("skopeo", "copy", "--quiet", "containers-storage:"+name, "oci:"+layout+":image")
	var index imagespec.Index
	var manifest imagespec.Manifest
	var image exported
	readJSON(h.t, filepath.Join(layout, "index.json"), &index)
	blob := func(d imagespec.Descriptor) string {
		return filepath.Join(layout, "blobs", d.Digest.Algorithm().String(), d.Digest.Encoded())
	}
	readJSON(h.t, blob(index.Manifests[0]), &manifest)
	readJSON(h.t, blob(manifest.Config), &image.config)
	var raw struct{ Config map[string]any }
	readJSON(h.t, blob(manifest.Config), &raw)
	image.raw = raw.Config
	image.files = tree{}
	for i, layer := range manifest.Layers {
		if got, want := image.files.apply(h.t, blob(layer)), image.config.RootFS.DiffIDs[i].String(); got != want {
			h.t.Errorf("%s: layer %d has diff id %s, the configuration says %s", name, i, got, want)
		}
	}
	return image
}

func readJSON(t *testing.T, name string, into any) {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(content, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// apply lays a layer over the tree (OCI image specification, layer.md) and returns
// its diff id.
func (files tree) apply(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.New()
	content := io.TeeReader(unzipped, sum)
	for tr := tar.NewReader(content); ; {
		header, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		files.put(t, header, tr)
	}
	if _, err := io.Copy(io.Discard, content); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("sha256:%x", sum.Sum(nil))
}

func (files tree) put(t *testing.T, header *tar.Header, body io.Reader) {
	t.Helper()
	name := strings.TrimPrefix(path.Clean("/"+header.Name), "/")
	dir, base := path.Split(name)
	if base == ".wh..wh..opq" {
		files.removeBelow(strings.TrimSuffix(dir, "/"))
		return
	}
	if hidden, ok := strings.CutPrefix(base, ".wh."); ok {
		delete(files, dir+hidden)
		files.removeBelow(dir + hidden)
		return
	}
	if header.Typeflag == tar.TypeLink {
		target := files[strings.TrimPrefix(path.Clean("/"+header.Linkname), "/")]
		if target == nil {
			t.Fatalf("hard link %s to %s, which is not there", name, header.Linkname)
		}
		files[name] = target
		return
	}
	if header.Typeflag != tar.TypeDir {
		files.removeBelow(name)
	}
	content, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	entry := &file{Type: header.Typeflag, Mode: header.Mode & 0o7777, UID: header.Uid, GID: header.Gid,
		Target: header.Linkname, Xattrs: map[string]string{}, inode: &name}
	switch header.Typeflag {
	case tar.TypeReg:
		entry.Content = contentOf(string(content))
	case tar.TypeChar, tar.TypeBlock:
		entry.Device = fmt.Sprintf("%d:%d", header.Devmajor, header.Devminor)
	}
	for key, value := range header.PAXRecords {
		if attr, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok {
			entry.Xattrs[attr] = value
		}
	}
	files[name] = entry
}

// contentOf is a file's Content.
func contentOf(text string) string {
	return fmt.Sprintf("%d bytes, sha256:%x", len(text), sha256.Sum256([]byte(text)))
}

func (files tree) removeBelow(dir string) {
	maps.DeleteFunc(files, func(name string, _ *file) bool { return strings.HasPrefix(name, dir+"/") })
}

// describe is one line that tells all that is compared, hard links by their first name.
func (files tree) describe(name string) string {
	entry := files[name]
	if entry == nil {
		return "missing"
	}
	links := []string{}
	for other, e := range files {
		if e.inode == entry.inode {
			links = append(links, other)
		}
	}
	return fmt.Sprintf("type %c mode %04o owner %d:%d %s -> %q %s xattrs %v first name %s",
		entry.Type, entry.Mode, entry.UID, entry.GID, entry.Content, entry.Target, entry.Device, entry.Xattrs, slices.Min(links))
}

// compare reports where the files of oakum's image differ from those of buildah's.
// traces are the paths of which buildah's RUN leaves some behind; oakum must have none.
func compare(t *testing.T, got, want tree, traces ...string) {
	t.Helper()
	for _, entry := range want {
		// Debian's buildah lets overlay's own attributes into layers.
		maps.DeleteFunc(entry.Xattrs, func(name, _ string) bool { return strings.HasPrefix(name, "user.overlay.") })
	}
	names := map[string]bool{}
	for name := range got {
		names[name] = true
	}
	for name := range want {
		names[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if slices.Contains(traces, name) && got[name] == nil {
			continue
		}
		if g, w := got.describe(name), want.describe(name); g != w {
			t.Errorf("%s\n  oakum:   %s\n  buildah: %s", name, g, w)
		}
	}
	if len(want) < 10 {
		t.Errorf("the reference has only %d files", len(want))
	}
}

// normalConfig is a configuration object without what each builder adds of itself,
// and without the empty values that the Docker format spells out.
func normalConfig(config map[string]any) map[string]any {
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
