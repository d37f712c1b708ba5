//go:build linux

package extract

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"testing"

	"github.com/oakum-build/oakum/builder/internal/owners"
)

// BenchmarkLayer extracts 10,000 files of 8 KiB in 500 directories.
func BenchmarkLayer(b *testing.B) {
	var headers []tar.Header
	for i := range 500 {
		headers = append(headers, dir(fmt.Sprintf("usr/lib/%03d", i)))
		for j := range 20 {
			headers = append(headers, tar.Header{Name: fmt.Sprintf("usr/lib/%03d/%02d", i, j), Typeflag: tar.TypeReg, Mode: 0o644, Size: 8 << 10})
		}
	}
	layer := pack(b, headers...)
	b.SetBytes(int64(len(layer)))
	for b.Loop() {
		b.StopTimer()
		root, err := os.Open(b.TempDir())
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := Layer(b.Context(), root, bytes.NewReader(layer), Options{Owners: owners.New()}); err != nil {
			b.Fatal(err)
		}
		root.Close()
	}
}
