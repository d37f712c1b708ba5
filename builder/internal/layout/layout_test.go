//go:build linux

package layout

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/oakum-build/oakum/builder/foreign"
	"github.com/oakum-build/oakum/builder/limits"
)

// digests of the layouts below; nobody compares them with what they are of.
var (
	one = strings.Repeat("1", 64)
	two = strings.Repeat("2", 64)
)

func blobOf(hex string) string { return "blobs/sha256/" + hex }

func naming(kind, hex string) *fstest.MapFile {
	return &fstest.MapFile{Data: fmt.Appendf(nil, `{%q:[{"digest":"sha256:%s"}]}`, kind, hex)}
}

// tarOf makes an archive of a layout.
func tarOf(t testing.TB, files fstest.MapFS) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for name, f := range files {
		h := &tar.Header{Name: "./" + name, Mode: 0o644, Size: int64(len(f.Data)), Typeflag: tar.TypeReg}
		switch f.Mode.Type() {
		case fs.ModeNamedPipe:
			h.Typeflag = tar.TypeFifo
		case fs.ModeSymlink:
			h.Typeflag, h.Linkname = tar.TypeSymlink, "/etc/passwd"
		}
		if h.Typeflag != tar.TypeReg {
			h.Size = 0
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write(f.Data); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestCheck(t *testing.T) {
	large := &fstest.MapFile{Data: make([]byte, limits.MaxJSON+1)}
	pipe := &fstest.MapFile{Mode: fs.ModeNamedPipe}
	for name, test := range map[string]struct {
		files fstest.MapFS
		limit bool
		wrong error
	}{
		"an image":               {files: fstest.MapFS{"index.json": naming("manifests", one), blobOf(one): naming("layers", two), blobOf(two): large}},
		"nothing":                {files: fstest.MapFS{}},
		"no JSON":                {files: fstest.MapFS{"index.json": {Data: []byte("x")}}},
		"itself":                 {files: fstest.MapFS{"index.json": naming("manifests", one), blobOf(one): naming("manifests", one)}},
		"a digest with a path":   {files: fstest.MapFS{"index.json": {Data: []byte(`{"manifests":[{"digest":"sha256:../../index.json"}]}`)}}},
		"a large index":          {files: fstest.MapFS{"index.json": large}, limit: true},
		"a large manifest":       {files: fstest.MapFS{"index.json": naming("manifests", one), blobOf(one): large}, limit: true},
		"a large one in another": {files: fstest.MapFS{"index.json": naming("manifests", one), blobOf(one): naming("manifests", two), blobOf(two): large}, limit: true},
		"a pipe":                 {files: fstest.MapFS{"index.json": pipe}, wrong: foreign.ErrSpecial},
		"a pipe as a layer":      {files: fstest.MapFS{"index.json": naming("manifests", one), blobOf(one): naming("layers", two), blobOf(two): pipe}, wrong: foreign.ErrSpecial},
	} {
		packed := tarOf(t, test.files)
		var zipped bytes.Buffer
		gz := gzip.NewWriter(&zipped)
		if _, err := gz.Write(packed); err != nil {
			t.Fatal(err)
		}
		gz.Close()
		for form, err := range map[string]error{
			"layout": Check(test.files), "archive": CheckArchive(t.Context(), bytes.NewReader(packed)), "compressed": CheckArchive(t.Context(), bytes.NewReader(zipped.Bytes())),
		} {
			var limit *limits.LimitError
			if errors.As(err, &limit) != test.limit || test.wrong != nil && !errors.Is(err, test.wrong) || !test.limit && test.wrong == nil && err != nil {
				t.Errorf("%s as %s: %v", name, form, err)
			}
		}
	}
	link := tarOf(t, fstest.MapFS{"index.json": {Mode: fs.ModeSymlink}})
	if err := CheckArchive(t.Context(), bytes.NewReader(link)); !errors.Is(err, foreign.ErrSpecial) {
		t.Errorf("a link in an archive: %v", err)
	}
	var many bytes.Buffer
	w := tar.NewWriter(&many)
	for i := range maxFiles + 1 {
		if err := w.WriteHeader(&tar.Header{Name: fmt.Sprint(i), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
	}
	var limit *limits.LimitError
	if err := CheckArchive(t.Context(), bytes.NewReader(many.Bytes())); !errors.As(err, &limit) {
		t.Errorf("an archive of many files: %v", err)
	}
}

func TestCheckFlat(t *testing.T) {
	large := &fstest.MapFile{Data: make([]byte, limits.MaxJSON+1)}
	var limit *limits.LimitError
	if err := CheckFlat(fstest.MapFS{"version": {}, "manifest.json": {}, one: large}, fs.Lstat); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"version", "manifest.json", one + ".manifest.json", "signature-1"} {
		if err := CheckFlat(fstest.MapFS{name: large}, fs.Lstat); !errors.As(err, &limit) {
			t.Errorf("a large %s: %v", name, err)
		}
		if err := CheckFlat(fstest.MapFS{name: {Mode: fs.ModeSymlink}}, fs.Lstat); !errors.Is(err, foreign.ErrSpecial) {
			t.Errorf("a link as %s: %v", name, err)
		}
	}
}

// FuzzCheckArchive looks for archives that end the program, or take it long.
func FuzzCheckArchive(f *testing.F) {
	f.Add(tarOf(f, fstest.MapFS{"index.json": naming("manifests", one), blobOf(one): naming("manifests", two), blobOf(two): naming("layers", one)}), "")
	f.Add([]byte{}, `{"manifests":[{"digest":"sha256:`+one+`"}],"config":{"digest":"md5:x"}}`)
	f.Fuzz(func(t *testing.T, packed []byte, index string) {
		_ = CheckArchive(t.Context(), bytes.NewReader(packed))
		files := fstest.MapFS{"index.json": {Data: []byte(index)}, blobOf(one): {Data: []byte(index)}}
		if err := Check(files); err != nil && !errors.Is(err, foreign.ErrSpecial) && !errors.Is(err, limits.ErrInvalid) {
			t.Errorf("%q: %v", index, err)
		}
		_ = CheckArchive(t.Context(), bytes.NewReader(tarOf(t, files)))
	})
}
