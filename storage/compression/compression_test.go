package compression

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func level(n int) *int { return &n }

func TestCheck(t *testing.T) {
	for _, test := range []struct {
		choice Choice
		want   string // "" is none
	}{
		{Choice{}, ""},
		{Choice{Algorithm: Gzip, Level: level(9)}, ""},
		{Choice{Level: level(0)}, ""},
		{Choice{Algorithm: Zstd, Level: level(22)}, ""},
		{Choice{Algorithm: ZstdChunked, Level: level(3)}, ""},
		{Choice{Algorithm: Uncompressed}, ""},
		{Choice{Level: level(10)}, "compression level 10: that of gzip is 0 to 9"},
		{Choice{Level: level(-1)}, "compression level -1: that of gzip is 0 to 9"},
		{Choice{Algorithm: Zstd, Level: level(23)}, "compression level 23: that of zstd is 0 to 22"},
		{Choice{Algorithm: Uncompressed, Level: level(1)}, "compression level 1: layers that are uncompressed have none"},
		{Choice{Algorithm: "xz"}, `unknown compression "xz": it is gzip, zstd, zstd:chunked or uncompressed`},
		{Choice{Algorithm: "estargz"}, `compression "estargz" is not supported; zstd:chunked also lets a reader fetch single files`},
	} {
		got := ""
		if err := test.choice.Check(); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%+v: %q, want %q", test.choice, got, test.want)
		}
		w, err := test.choice.NewWriter(io.Discard)
		if (err != nil) != (test.want != "") {
			t.Errorf("%+v: a writer with error %v", test.choice, err)
		}
		if err == nil {
			writeTar(t, w, 1)
		}
	}
}

// writeTar writes a tar of several files and n bytes in all, and closes w.
func writeTar(t *testing.T, w io.WriteCloser, n int) {
	t.Helper()
	var words [4096]byte
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range words {
		words[i] = byte('a' + rnd.IntN(4))
	}
	archive := tar.NewWriter(w)
	for i := range 3 {
		data := bytes.Repeat(words[:], n/3/len(words)+1)[:n/3]
		if err := archive.WriteHeader(&tar.Header{Name: "file" + strings.Repeat("x", i), Mode: 0o644, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(archive.Close(), w.Close()); err != nil {
		t.Fatal(err)
	}
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// unpack decompresses what the algorithm made, by other code than made it where there is any.
func unpack(t *testing.T, algorithm string, data []byte) []byte {
	t.Helper()
	r := io.Reader(bytes.NewReader(data))
	switch algorithm {
	case Gzip:
		z, err := gzip.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		r = z
	case Zstd, ZstdChunked:
		z, err := zstd.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		r = z
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("%s: %v", algorithm, err)
	}
	return out
}

// TestSameBytes compresses by one processor and by several: the bytes are the same, and the tar comes
// out again.
func TestSameBytes(t *testing.T) {
	for _, algorithm := range []string{Gzip, Zstd, ZstdChunked, Uncompressed} {
		sizes := []int{3, 2 * gzipBlock, 2*zstdFrame + 12345}
		if algorithm == ZstdChunked {
			sizes = []int{3, 100_000}
		}
		for _, size := range sizes {
			t.Run(algorithm, func(t *testing.T) {
				var want bytes.Buffer
				writeTar(t, nopCloser{&want}, size)
				var first []byte
				for _, processors := range []int{1, 3} {
					var out bytes.Buffer
					before := runtime.GOMAXPROCS(processors)
					w, err := Choice{Algorithm: algorithm}.NewWriter(&out)
					runtime.GOMAXPROCS(before)
					if err != nil {
						t.Fatal(err)
					}
					writeTar(t, w, size)
					if first == nil {
						first = out.Bytes()
						if got := unpack(t, algorithm, first); !bytes.Equal(got, want.Bytes()) {
							t.Errorf("%d bytes are not what was compressed, %d bytes", len(got), want.Len())
						}
					}
					if !bytes.Equal(out.Bytes(), first) {
						t.Errorf("%d processors gave other bytes than one", processors)
					}
					chunked := w.Annotations()["io.github.containers.zstd-chunked.manifest-position"] != ""
					if chunked != (algorithm == ZstdChunked) {
						t.Errorf("annotations %v", w.Annotations())
					}
				}
			})
		}
	}
}

// TestEmpty compresses nothing.
func TestEmpty(t *testing.T) {
	for _, algorithm := range []string{Gzip, Zstd, Uncompressed} {
		var out bytes.Buffer
		w, err := Choice{Algorithm: algorithm}.NewWriter(&out)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if got := unpack(t, algorithm, out.Bytes()); len(got) != 0 {
			t.Errorf("%s: %q", algorithm, got)
		}
	}
}

// TestLevels sees that the level is passed on.
func TestLevels(t *testing.T) {
	for algorithm, levels := range map[string][2]int{Gzip: {0, 9}, Zstd: {1, 9}} {
		var made [2][]byte
		for i, l := range levels {
			var out bytes.Buffer
			w, err := Choice{Algorithm: algorithm, Level: level(l)}.NewWriter(&out)
			if err != nil {
				t.Fatal(err)
			}
			writeTar(t, w, 1<<16)
			made[i] = out.Bytes()
		}
		if bytes.Equal(made[0], made[1]) {
			t.Errorf("%s: levels %d gave the same bytes", algorithm, levels)
		}
	}
}

// errFull is of a writer that takes nothing.
var errFull = errors.New("full")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

// TestWriteError sees that an error of the writer below ends the stream, and that Close does not hang.
func TestWriteError(t *testing.T) {
	for _, algorithm := range []string{Gzip, Zstd, Uncompressed} {
		t.Run(algorithm, func(t *testing.T) {
			w, err := Choice{Algorithm: algorithm}.NewWriter(full{})
			if err != nil {
				t.Fatal(err)
			}
			block := make([]byte, zstdFrame)
			for range 20 {
				if _, err = w.Write(block); err != nil {
					break
				}
			}
			if err == nil {
				t.Error("20 frames were written to a writer that takes nothing")
			}
			if closed := w.Close(); !errors.Is(errors.Join(err, closed), errFull) {
				t.Errorf("%v and %v, want %v", err, closed, errFull)
			}
		})
	}
}
