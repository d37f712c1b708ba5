//go:build linux

package filecopy

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// tarFile is a plain archive of one file.
func tarFile(t testing.TB) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.WriteHeader(&tar.Header{Name: "f", Typeflag: tar.TypeReg, Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// packed is data in one compression.
func packed(t testing.TB, data []byte, writer func(io.Writer) (io.WriteCloser, error)) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := writer(&buf)
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func gz(w io.Writer) (io.WriteCloser, error)   { return gzip.NewWriter(w), nil }
func zst(w io.Writer) (io.WriteCloser, error)  { return zstd.NewWriter(w) }
func xzed(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) }
func fileOf(t testing.TB, data []byte) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestIsTar(t *testing.T) {
	plain := tarFile(t)
	zip := packed(t, plain, gz)
	for name, test := range map[string]struct {
		data []byte
		want bool
	}{
		"plain": {plain, true}, "gzip": {zip, true}, "zstd": {packed(t, plain, zst), true}, "xz": {packed(t, plain, xzed), true},
		"a cut one with its first header": {plain[:512], true},
		"empty":                           {nil, false}, "text": {[]byte("hello, world"), false}, "zeros": {make([]byte, 4096), false}, "half a header": {plain[:300], false},
		"gzip of text": {packed(t, []byte("hello"), gz), false}, "gzip of nothing": {packed(t, nil, gz), false}, "gzip of gzip": {packed(t, zip, gz), false},
		"a gzip header alone": {zip[:10], false}, "broken gzip": {append(bytes.Clone(zip[:12]), "garbage"...), false},
		"magic of bzip2": {[]byte("BZh91AY&SY"), false}, "magic of xz": {[]byte("\xfd7zXZ\x00garbage"), false}, "magic of zstd": {[]byte("\x28\xb5\x2f\xfdgarbage"), false},
	} {
		f := fileOf(t, test.data)
		got, err := IsTar(f)
		if err != nil || got != test.want {
			t.Errorf("%s: got %v, %v, want %v", name, got, err, test.want)
		}
		if at, err := f.Seek(0, io.SeekCurrent); at != 0 || err != nil {
			t.Errorf("%s: left at %d: %v", name, at, err)
		}
	}
}

// A stream that says it refers far back gets no memory for it.
func TestZstdWindow(t *testing.T) {
	for window, want := range map[string]bool{
		"\x68": true,  // 8 MiB
		"\xf8": false, // 2 TiB
		"\xa8": false, // 2 GiB
	} {
		// A frame (RFC 8878): magic number, descriptor, window, one raw block that is the last.
		stream := "\x28\xb5\x2f\xfd\x00" + window + "\x29\x00\x00hello"
		r, err := Decompress(strings.NewReader(stream))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if ok := err == nil && string(got) == "hello"; ok != want {
			t.Errorf("window %x: %q, %v", window, got, err)
		}
		r.Close()
	}
}

func FuzzIsTar(f *testing.F) {
	plain := tarFile(f)
	for _, seed := range [][]byte{plain, packed(f, plain, gz), packed(f, plain, zst), packed(f, plain, xzed), []byte("BZh91AY&SY"), {}} {
		f.Add(seed)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := os.CreateTemp(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		defer os.Remove(file.Name())
		defer file.Close()
		if _, err := file.Write(data); err != nil {
			t.Fatal(err)
		}
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if _, err := IsTar(file); err != nil {
			t.Error(err)
		}
		if at, err := file.Seek(0, io.SeekCurrent); at != 0 || err != nil {
			t.Errorf("left at %d: %v", at, err)
		}
	})
}
