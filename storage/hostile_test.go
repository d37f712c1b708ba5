//go:build linux

package storage

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/storage/platform"
	"github.com/oakum-build/oakum/storage/registry"
)

// hostileEnv makes the test process one that pulls the layout whose path it gives.
const hostileEnv = "OAKUM_TEST_HOSTILE"

// layout writes an OCI layout of one layer, given as it is in the blob.
func layout(t testing.TB, dir, mediaType string, blob []byte, diffID digest.Digest) {
	t.Helper()
	put := func(data []byte) imgspec.Descriptor {
		d := digest.FromBytes(data)
		path := filepath.Join(dir, "blobs/sha256", d.Encoded())
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		return imgspec.Descriptor{Digest: d, Size: int64(len(data))}
	}
	putJSON := func(v any) imgspec.Descriptor {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return put(data)
	}
	l := put(blob)
	l.MediaType = mediaType
	c := putJSON(map[string]any{"architecture": "amd64", "os": "linux", "rootfs": map[string]any{"type": "layers", "diff_ids": []digest.Digest{diffID}}})
	c.MediaType = imgspec.MediaTypeImageConfig
	m := imgspec.Manifest{MediaType: imgspec.MediaTypeImageManifest, Config: c, Layers: []imgspec.Descriptor{l}}
	m.SchemaVersion = 2
	md := putJSON(m)
	md.MediaType = imgspec.MediaTypeImageManifest
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []imgspec.Descriptor{md}})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"index.json": index, "oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// plainTar is an archive with one file.
func plainTar(t testing.TB) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.WriteHeader(&tar.Header{Name: "file", Typeflag: tar.TypeReg, Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// zipped compresses what write writes.
func zipped(t testing.TB, write func(io.Writer)) (blob []byte, diffID digest.Digest) {
	t.Helper()
	var buf bytes.Buffer
	z, err := gzip.NewWriterLevel(&buf, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	sum := digest.Canonical.Digester()
	write(io.MultiWriter(z, sum.Hash()))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes(), sum.Digest()
}

// header is one of a tar, made by hand since the library would not make such.
func header(name string, kind byte, size int64, fill func(block []byte)) []byte {
	h := make([]byte, 512)
	copy(h, name)
	copy(h[100:], "0000644\x000000000\x000000000\x00")
	copy(h[124:], fmt.Sprintf("%011o\x0000000000000\x00", size))
	h[156] = kind
	copy(h[257:], "ustar  \x00")
	if fill != nil {
		fill(h)
	}
	copy(h[148:], "        ")
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return h
}

// paxOf is a PAX header with a value of so many bytes.
func paxOf(size int) func(io.Writer) {
	return func(w io.Writer) {
		record := fmt.Sprintf(" comment=%s\n", strings.Repeat("x", size))
		n := len(record) + len(strconv.Itoa(len(record)+9))
		record = strconv.Itoa(n) + record
		_, _ = w.Write(header("pax", 'x', int64(len(record)), nil))
		_, _ = io.WriteString(w, record)
		_, _ = w.Write(make([]byte, (512-len(record)%512)%512))
		_, _ = w.Write(header("file", '0', 0, nil))
		_, _ = w.Write(make([]byte, 1024))
	}
}

// octal writes a number of 11 digits.
func octal(to []byte, n int) {
	for i := range 11 {
		to[10-i] = byte('0' + n>>(3*i)&7)
	}
}

// sparseMap is a file whose map of holes, in GNU's old form, has 21 entries a block.
func sparseMap(blocks int) func(io.Writer) {
	return func(w io.Writer) {
		_, _ = w.Write(header("sparse", 'S', 0, func(h []byte) {
			for i := range 4 {
				copy(h[386+24*i:], fmt.Sprintf("%011o\x00%011o\x00", i, 0))
			}
			h[482] = 1
			copy(h[483:], fmt.Sprintf("%011o\x00", 1<<30))
		}))
		block := make([]byte, 512)
		for n := range blocks {
			for i := range 21 { // more than a million of them, of which none is worth a Sprintf
				octal(block[24*i:], 4+21*n+i)
				octal(block[24*i+12:], 0)
			}
			block[504] = 1
			if n == blocks-1 {
				block[504] = 0
			}
			_, _ = w.Write(block)
		}
		_, _ = w.Write(make([]byte, 1024))
	}
}

// A layer that wants much memory or time of who unpacks it gets neither; an honest one is
// pulled with the same means.
func TestHostileLayers(t *testing.T) {
	if dir := os.Getenv(hostileEnv); dir != "" {
		pullHostile(t, dir)
		return
	}
	plain := plainTar(t)
	honest, diffID := zipped(t, func(w io.Writer) { _, _ = w.Write(plain) })
	z, err := zstd.NewWriter(nil, zstd.WithSingleSegment(false))
	if err != nil {
		t.Fatal(err)
	}
	text := append(plain, make([]byte, 1<<20)...)
	std := z.EncodeAll(text, nil)
	huge := bytes.Clone(std)
	huge[5] = 21 << 3 // the window is said to be of 2 GiB (RFC 8878, 3.1.1.1.2)
	var empty bytes.Buffer
	if err := gzip.NewWriter(&empty).Close(); err != nil {
		t.Fatal(err)
	}
	const zip, zst = imgspec.MediaTypeImageLayerGzip, imgspec.MediaTypeImageLayerZstd
	tests := map[string]struct {
		mediaType string
		blob      []byte
		diffID    digest.Digest
		pulled    string // "yes", "no", or "" for either
	}{
		"an honest layer":         {zip, honest, diffID, "yes"},
		"many empty members":      {zip, append(bytes.Repeat(empty.Bytes(), 20_000), honest...), diffID, "yes"},
		"honest zstd":             {zst, std, digest.FromBytes(text), "yes"},
		"a large window":          {zst, huge, digest.FromBytes(text), "no"},
		"cut short":               {zip, honest[:len(honest)/2], diffID, "no"},
		"cut short, zstd":         {zst, std[:len(std)/2], diffID, "no"},
		"no gzip":                 {zip, []byte("\x1f\x8b\x08 and nothing"), diffID, "no"},
		"xz cut short":            {zip, []byte("\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4\x46\x02\x00"), diffID, "no"},
		"another digest than its": {zip, honest, digest.FromString("x"), "no"},
	}
	for name, write := range map[string]func(io.Writer){"a large PAX header": paxOf(32 << 20), "a large sparse map": sparseMap(60_000)} {
		test := tests[name]
		test.mediaType, test.pulled = zip, "no"
		test.blob, test.diffID = zipped(t, write)
		tests[name] = test
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			layout(t, dir, test.mediaType, test.blob, test.diffID)
			cmd := exec.CommandContext(t.Context(), exe, "-test.run", "^TestHostileLayers$", "-test.v")
			cmd.Env = append(os.Environ(), hostileEnv+"="+dir)
			start := time.Now()
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "--- PASS") {
				t.Fatalf("%v\n%s", err, out)
			}
			if took := time.Since(start); took > 2*time.Minute {
				t.Errorf("took %v", took)
			}
			_, rest, _ := strings.Cut(string(out), "pulled: ")
			pulled, rest, _ := strings.Cut(rest, " ")
			if test.pulled != "" && pulled != test.pulled {
				t.Errorf("pulled: %s, want %s\n%s", pulled, test.pulled, out)
			}
			peak, _, _ := strings.Cut(rest, " ")
			if kib, err := strconv.Atoi(peak); err != nil || kib > 256<<10 {
				t.Errorf("used %s KiB of memory, %v\n%s", peak, err, out)
			}
		})
	}
}

// pullHostile pulls the layout and says whether it could, and how many KiB that took.
func pullHostile(t *testing.T, dir string) {
	s := open(t)
	_, err := s.Pull(t.Context(), "oci:"+dir, platform.Platform{}, registry.Access{})
	var used syscall.Rusage // of this process's helpers, which it has started from little
	if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &used); err != nil {
		t.Fatal(err)
	}
	status, readErr := os.ReadFile("/proc/self/status")
	if readErr != nil {
		t.Fatal(readErr)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	own, readErr := strconv.Atoi(strings.Fields(rest)[0])
	if readErr != nil {
		t.Fatal(readErr)
	}
	fmt.Printf("pulled: %s %d KiB: %v\n", map[bool]string{true: "yes", false: "no"}[err == nil], max(int64(own), used.Maxrss), err)
	images, listErr := s.Images()
	layers, layersErr := s.cs.Layers()
	if listErr != nil || layersErr != nil || (err != nil && len(images)+len(layers) > 0) {
		t.Errorf("left: %v, %v, %v, %v", images, listErr, layers, layersErr)
	}
}
