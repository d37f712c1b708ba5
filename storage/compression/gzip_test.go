package compression

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/klauspost/compress/flate"
)

// kinds are contents for which a search for repetitions is worth nothing, little or much, and such that are
// one thing here and another there.
func kinds() map[string][]byte {
	const size = gzipBlock + gzipBlock/2 + 4321
	rnd := rand.NewChaCha8([32]byte{7})
	random := make([]byte, size)
	_, _ = rnd.Read(random) // never fails
	letters := slices.Clone(random)
	for i := range letters {
		letters[i] = 'a' + letters[i]&15
	}
	lines := bytes.Buffer{}
	for i := 0; lines.Len() < size; i++ {
		fmt.Fprintf(&lines, "%d: %x is the value of %d\n", i, random[i], random[i+1])
	}
	far := bytes.Repeat(letters[:gzipWindow-1000], size/(gzipWindow-1000)+1)
	mixed := slices.Clone(letters)
	for at := 0; at < size; at += 300_000 {
		clear(mixed[at : at+20_000])
	}
	late := slices.Clone(letters)
	clear(late[gzipBlock-70_000 : gzipBlock])
	return map[string][]byte{
		"random": random, "letters": letters, "base64": []byte(base64.StdEncoding.EncodeToString(random)),
		"lines": lines.Bytes(), "far": far, "mixed": mixed, "late": late, "zeros": make([]byte, size),
	}
}

// TestGzip compares what becomes of contents with what the level alone makes of them: it is never larger by
// more than what the blocks cost, and comes out again.
func TestGzip(t *testing.T) {
	for name, data := range kinds() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			w, err := Choice{}.NewWriter(&out)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(data); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if got := unpack(t, Gzip, out.Bytes()); !bytes.Equal(got, data) {
				t.Fatalf("%d bytes are not what was compressed, %d bytes", len(got), len(data))
			}
			if alone := level5(t, data); out.Len() > alone+alone/500+2000 {
				t.Errorf("%d bytes, and the level alone makes %d of it", out.Len(), alone)
			}
		})
	}
}

func level5(t *testing.T, data []byte) int {
	t.Helper()
	var n counter
	w, err := flate.NewWriter(&n, flate.DefaultCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return int(n)
}

// BenchmarkGzip shows the speed of contents.
func BenchmarkGzip(b *testing.B) {
	for name, data := range kinds() {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				var n counter
				w, err := Choice{}.NewWriter(&n)
				if err != nil {
					b.Fatal(err)
				}
				_, _ = w.Write(data)
				_ = w.Close()
				b.ReportMetric(float64(n)/float64(len(data)), "ratio")
			}
		})
	}
}
