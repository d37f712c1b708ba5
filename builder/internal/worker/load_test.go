//go:build linux

package worker

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
)

// packed is an archive of files, each of which says its name.
func packed(f testing.TB, names ...string) []byte {
	f.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range names {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(name))}); err != nil {
			f.Fatal(err)
		}
		if _, err := w.Write([]byte(name)); err != nil {
			f.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	return out.Bytes()
}

func zipped(f testing.TB, data []byte) []byte {
	f.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(data); err != nil {
		f.Fatal(err)
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	return out.Bytes()
}

// kindOf is what load does with a file until it knows what it is.
func kindOf(t testing.TB, data []byte) (kind string, unpacked string, err error) {
	t.Helper()
	scratch := t.TempDir()
	path := filepath.Join(scratch, "in")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		t.Fatal(err)
	}
	plain, err := plainFile(t.Context(), in, info, scratch)
	if err != nil {
		return "", scratch, err
	}
	defer plain.Close()
	kind, err = archiveKind(t.Context(), plain)
	if err != nil {
		return "", scratch, err
	}
	if at, err := plain.Seek(0, 1); at != 0 || err != nil {
		t.Errorf("left at %d, %v", at, err)
	}
	if kind == ociArchive {
		root, err := unpackLayout(t.Context(), plain, scratch)
		if err != nil {
			return kind, scratch, err
		}
		root.Close()
	}
	return kind, scratch, nil
}

func TestArchiveKind(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		data []byte
		want string // "" is an error
	}{
		"docker":              {packed(t, "manifest.json"), dockerArchive},
		"a layout":            {packed(t, "oci-layout", "blobs/sha256/a", "./index.json"), ociArchive},
		"both":                {packed(t, "manifest.json", "index.json", "oci-layout"), ociArchive},
		"half a layout":       {packed(t, "manifest.json", "index.json"), dockerArchive},
		"only half a layout":  {packed(t, "oci-layout", "blobs/sha256/a"), ""},
		"compressed":          {zipped(t, packed(t, "manifest.json")), dockerArchive},
		"below the top":       {packed(t, "x/manifest.json", "x/oci-layout", "x/index.json"), ""},
		"above the top":       {packed(t, "../manifest.json"), ""},
		"no archive":          {[]byte("text"), ""},
		"nothing":             {nil, ""},
		"compressed nothing":  {zipped(t, nil), ""},
		"the end is missing":  {packed(t, "x", "manifest.json")[:700], ""},
		"half a compressed":   {zipped(t, packed(t, "manifest.json"))[:30], ""},
		"twice compressed":    {zipped(t, zipped(t, packed(t, "manifest.json"))), ""},
		"names from the root": {packed(t, "/manifest.json"), ""},
	} {
		kind, _, err := kindOf(t, test.data)
		if kind != test.want || err == nil && test.want == "" || err != nil && !errors.Is(err, errdefs.ErrInvalid) {
			t.Errorf("%s: %q, %v, want %q", name, kind, err, test.want)
		}
	}
}

// FuzzArchiveKind looks for archives that end the program, are nothing and no error of the archive's, or lead
// out of the directory of the layout.
func FuzzArchiveKind(f *testing.F) {
	layout := packed(f, "oci-layout", "index.json", "blobs/sha256/a", "blobs/sha256/../../../out", "blobs/a", "../out", "manifest.json")
	for _, seed := range [][]byte{{}, []byte("text"), layout, zipped(f, layout), packed(f, "manifest.json"), packed(f, "a/../manifest.json"), zipped(f, packed(f, "x"))[:20], []byte("BZh91AY&SY"), []byte("\x28\xb5\x2f\xfd\x00"), []byte("\xfd7zXZ\x00")} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		kind, scratch, err := kindOf(t, data)
		if err == nil && kind != dockerArchive && kind != ociArchive {
			t.Errorf("it is %q", kind)
		}
		if err != nil && !errors.Is(err, errdefs.ErrInvalid) {
			t.Errorf("got %v", err)
		}
		err = filepath.WalkDir(scratch, func(name string, d fs.DirEntry, err error) error {
			rel, relErr := filepath.Rel(scratch, name)
			first, _, _ := bytes.Cut([]byte(rel), []byte("/"))
			if string(first) != "layout" && rel != "." && rel != "in" && rel != "archive" || d != nil && d.Type()&^fs.ModeDir != 0 {
				t.Errorf("it made %s", rel)
			}
			return errors.Join(err, relErr)
		})
		if err != nil {
			t.Error(err)
		}
	})
}
