//go:build linux

package storage

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/hack/chaos"
	"github.com/oakum-build/oakum/storage/authfile/authtest"
	"github.com/oakum-build/oakum/storage/platform"
	"github.com/oakum-build/oakum/storage/registry"
)

// victim is a directory beside the store, and what it looks like.
func victim(t *testing.T) (dir string, look func() string) {
	t.Helper()
	dir = t.TempDir()
	authtest.Write(t, filepath.Join(dir, "marker"), "untouched")
	authtest.Write(t, filepath.Join(dir, "sub/file"), "untouched")
	return dir, func() string {
		var all strings.Builder
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := e.Info()
			if err != nil {
				return err
			}
			fmt.Fprintln(&all, path, info.Mode(), info.ModTime().UnixNano())
			if e.Type().IsRegular() {
				text, err := os.ReadFile(path)
				fmt.Fprintf(&all, "%q %v\n", text, err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return all.String()
	}
}

// dockerSave writes an archive as docker save does: of one image with one layer.
func dockerSave(t *testing.T, path, name string, layer []byte) {
	t.Helper()
	config, err := json.Marshal(map[string]any{"architecture": "amd64", "os": "linux", "rootfs": map[string]any{"type": "layers", "diff_ids": []digest.Digest{digest.FromBytes(layer)}}})
	if err != nil {
		t.Fatal(err)
	}
	list, err := json.Marshal([]map[string]any{{"Config": "c.json", "Layers": []string{"l.tar"}, "RepoTags": []string{name}}})
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range []struct {
		name string
		data []byte
	}{{"c.json", config}, {"l.tar", layer}, {"manifest.json", list}} {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(f.data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, buf.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A layer that is pulled or loaded changes nothing outside of the store, and when it is refused the
// store is what it was (CVE-2026-17106, CVE-2025-11395, CVE-2021-32760 and their class).
func TestHostileTars(t *testing.T) {
	host, look := victim(t)
	up := strings.Repeat("../", 40)
	before := look()
	file := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o4777} }
	dir := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o1777} }
	link := func(name, to string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
	}
	hard := func(name, to string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: to} }
	s, root := openAt(t)
	commit(t, s, layer(t, s, nil, "f", ""), "other")
	had := layerIDs(t, s)
	for name, headers := range map[string][]tar.Header{
		"a file up":                     {file(up + host + "/evil")},
		"a file over another's":         {file(up + host + "/marker")},
		"a directory over another":      {dir(up + host)},
		"an absolute file":              {file(host + "/marker")},
		"the parent as a file":          {file("..")},
		"the parent as a directory":     {dir("../")},
		"the parent in the middle":      {file("a/../../../evil")},
		"the root as a file":            {file("/.")},
		"the root as a link":            {link(".", host), file("evil")},
		"the root as a link with slash": {link("/", host), file("evil")},
		"through a link":                {link("l", host), file("l/marker")},
		"through a relative link":       {link("l", up+host), file("l/marker")},
		"through two links":             {link("a", "b"), link("b", host), file("a/marker")},
		"through a link to a sibling":   {link("l", "../evil"), file("l/f")},
		"a directory through a link":    {link("l", host), dir("l/sub")},
		"a mode through a link":         {link("l", host), dir("l")},
		"a link through a link":         {link("l", host), link("l/x", "y")},
		"a device through a link":       {link("l", host), {Name: "l/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3, Mode: 0o666}},
		"a pipe through a link":         {link("l", host), {Name: "l/pipe", Typeflag: tar.TypeFifo, Mode: 0o666}},
		"a hard link out":               {hard("h", up+host+"/marker"), file("h")},
		"an absolute hard link":         {hard("h", host+"/marker"), file("h")},
		"a hard link through a link":    {link("l", host), hard("h", "l/marker")},
		"a hard link to a link out":     {link("l", host+"/marker"), hard("h", "l"), dir("x")},
		"a hard link made elsewhere":    {link("l", host), file("f"), hard("l/h", "f")},
		"a hard link to the sibling":    {hard("h", "../evil/secret")},
		"a hard link to itself":         {hard("h", "h")},
		"a hard link to a directory":    {dir("d"), hard("h", "d")},
		"a whiteout of the parent":      {file(".wh...")},
		"a whiteout of the root":        {file(".wh..")},
		"a whiteout of nothing":         {file(".wh.")},
		"a whiteout through a link":     {link("l", host), file("l/.wh.marker")},
		"a whiteout up":                 {file(up + host + "/.wh.marker")},
		"a whiteout's name with slash":  {file(".wh." + up + host + "/marker")},
		"opaque through a link":         {link("l", host), file("l/.wh..wh..opq")},
		"opaque up":                     {file(up + host + "/.wh..wh..opq")},
		"a whiteout directory":          {dir(".wh.x"), file(".wh.x/f")},
		"an AUFS hard link":             {file(".wh..wh.plnk/1"), hard("h", ".wh..wh.plnk/1")},
		"an AUFS hard link out":         {link(".wh..wh.plnk", host), hard("h", ".wh..wh.plnk/marker")},
		"a file below a file":           {file("f"), file("f/g")},
		"a long name":                   {file(strings.Repeat("d/", 3000) + "f")},
		"a long component":              {file(strings.Repeat("d", 300))},
		"a NUL's place":                 {file("a\\x00b")},
		"an unknown kind":               {{Name: "u", Typeflag: 'Z'}},
		"overlay's attributes": {{Name: "d", Typeflag: tar.TypeDir, Mode: 0o755, PAXRecords: map[string]string{
			"SCHILY.xattr.trusted.overlay.redirect": host, "SCHILY.xattr.user.overlay.redirect": host, "SCHILY.xattr.user.overlay.metacopy": ""}}},
	} {
		t.Run(name, func(t *testing.T) {
			var buf bytes.Buffer
			w := tar.NewWriter(&buf)
			for _, h := range append([]tar.Header{{Name: "honest", Typeflag: tar.TypeReg, Mode: 0o644}}, headers...) {
				if err := w.WriteHeader(&h); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			of := t.TempDir()
			layout(t, filepath.Join(of, "layout"), imgspec.MediaTypeImageLayer, buf.Bytes(), digest.FromBytes(buf.Bytes()))
			dockerSave(t, filepath.Join(of, "saved.tar"), "evil:1", buf.Bytes())
			for _, ref := range []string{"oci:" + of + "/layout", "docker-archive:" + of + "/saved.tar"} {
				img, err := s.Pull(t.Context(), ref, platform.Platform{}, registry.Access{})
				if err == nil {
					_, err = s.Remove(img.ID, true, false)
				}
				if now := layerIDs(t, s); !slices.Equal(now, had) {
					t.Errorf("%s: %v; it left the layers %q of %q", ref, err, now, had)
				}
				for _, path := range files(t, root) {
					if strings.HasSuffix(path, "/evil") || strings.Contains(path, "null") {
						t.Errorf("%s: %v; it left %s", ref, err, path)
					}
				}
				if after := look(); after != before {
					t.Errorf("%s: %v; outside was\n%s\nand is\n%s", ref, err, before, after)
				}
			}
		})
	}
}

// A layer that is found wrong when those below it are in the store already leaves none of them.
func TestLayersBelowABadOne(t *testing.T) {
	authtest.Home(t)
	honest := plainTar(t)
	refused := func(h tar.Header) []byte {
		var buf bytes.Buffer
		w := tar.NewWriter(&buf)
		if err := errors.Join(w.WriteHeader(&h), w.Close()); err != nil {
			t.Fatal(err)
		}
		return buf.Bytes()
	}
	evil := refused(tar.Header{Name: ".", Typeflag: tar.TypeSymlink, Linkname: "/"})
	whiteout := refused(tar.Header{Name: ".wh..", Typeflag: tar.TypeReg})
	for name, test := range map[string]struct {
		layer []byte
		diff  digest.Digest
	}{
		"no archive":           {[]byte("no archive"), digest.FromString("no archive")},
		"another digest":       {plainTar(t), digest.FromString("another")},
		"a root that is none":  {evil, digest.FromBytes(evil)},
		"a whiteout of itself": {whiteout, digest.FromBytes(whiteout)},
	} {
		if driver() == DriverTree && (bytes.Equal(test.layer, evil) || bytes.Equal(test.layer, whiteout)) {
			continue // found when it is unpacked, by who wants to see the files
		}
		s, root := openAt(t)
		commit(t, s, layer(t, s, nil, "f", ""), "other")
		r := chaos.New(t)
		first, second := r.PutBlob("app", honest), r.PutBlob("app", test.layer)
		config, err := json.Marshal(map[string]any{"architecture": "amd64", "os": "linux", "rootfs": map[string]any{"type": "layers", "diff_ids": []digest.Digest{first, test.diff}}})
		if err != nil {
			t.Fatal(err)
		}
		m, err := json.Marshal(map[string]any{
			"schemaVersion": 2, "mediaType": imgspec.MediaTypeImageManifest, "config": map[string]any{"mediaType": imgspec.MediaTypeImageConfig, "digest": r.PutBlob("app", config), "size": len(config)},
			"layers": []map[string]any{
				{"mediaType": imgspec.MediaTypeImageLayer, "digest": first, "size": len(honest)}, {"mediaType": imgspec.MediaTypeImageLayer, "digest": second, "size": len(test.layer)},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		r.PutManifest("app", "1", imgspec.MediaTypeImageManifest, m)
		had := layerIDs(t, s)
		if img, err := s.Pull(t.Context(), r.Host+"/app:1", platform.Platform{}, patient()); err == nil {
			t.Errorf("%s: pulled as %s", name, img.ID)
		} else if now := layerIDs(t, s); !slices.Equal(now, had) {
			t.Errorf("%s: %v; it left the layers %q of %q", name, err, now, had)
		}
		for _, path := range files(t, root) {
			if strings.Contains(path, "container_images_storage") {
				t.Errorf("%s: it left %s", name, path)
			}
		}
	}
}

// What an archive or layout calls its image is a name or nothing, and never a path.
func TestHostileNames(t *testing.T) {
	authtest.Home(t)
	s, root := openAt(t)
	plain := plainTar(t)
	for _, name := range []string{
		"../../../x:1", "/etc/passwd", "..", ".", "", "a/../b:1", "a//b", "A:1", "x:../../y", "x:" + strings.Repeat("t", 200), "x@sha256:../../y", "x@sha256:" + strings.Repeat("0", 64),
		"\x00", "x\ny", "containers-storage:other", "oci:/etc", "--root", "evil.example/../../x:1", strings.Repeat("a/", 200) + "a", "docker://x", "{{.ID}}", "%2e%2e%2fx",
	} {
		of := t.TempDir()
		path := filepath.Join(of, "layout")
		layout(t, path, imgspec.MediaTypeImageLayer, plain, digest.FromBytes(plain))
		var index imgspec.Index
		raw, err := os.ReadFile(filepath.Join(path, "index.json"))
		if err == nil {
			err = json.Unmarshal(raw, &index)
		}
		if err != nil {
			t.Fatal(err)
		}
		index.Manifests[0].Annotations = map[string]string{imgspec.AnnotationRefName: name}
		if raw, err = json.Marshal(index); err == nil {
			err = os.WriteFile(filepath.Join(path, "index.json"), raw, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		dockerSave(t, filepath.Join(of, "saved.tar"), name, plain)
		for _, ref := range []string{"oci:" + path, "docker-archive:" + of + "/saved.tar"} {
			img, err := s.Pull(t.Context(), ref, platform.Platform{}, registry.Access{})
			if err != nil {
				continue
			}
			for _, n := range img.Names {
				if strings.Contains(n, "..") || strings.ContainsAny(n, "\x00\n{%") || strings.HasPrefix(n, "-") || strings.HasPrefix(n, "/") {
					t.Errorf("%q, %s: the image is called %q", name, ref, n)
				}
			}
			if _, err := s.Remove(img.ID, true, false); err != nil {
				t.Errorf("%q, %s: %v", name, ref, err)
			}
		}
	}
	for _, path := range files(t, root) {
		if strings.Contains(path, "passwd") || strings.HasSuffix(path, "/x") {
			t.Errorf("there is %s", path)
		}
	}
}
