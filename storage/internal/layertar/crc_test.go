//go:build linux

package layertar

import (
	"hash/crc64"
	"math/rand/v2"
	"testing"

	tarsplit "github.com/vbatts/tar-split/tar/storage"
)

// TestChecksum compares checksums with the library's, of lengths around where the way changes.
func TestChecksum(t *testing.T) {
	data := make([]byte, 3*8*crcPiece+crcLeast)
	_, _ = rand.NewChaCha8([32]byte{3}).Read(data) // never fails
	var whole, want uint64
	for _, n := range []int{0, 1, crcLeast - 1, crcLeast, crcLeast + 1, 8*crcPiece*2 - 3, 8 * crcPiece, 8*crcPiece + 8, len(data) - 9, len(data)} {
		whole, want = checksum(whole, data[:n]), crc64.Update(want, tarsplit.CRCTable, data[:n])
		if whole != want {
			t.Fatalf("%d bytes: %x, want %x", n, whole, want)
		}
	}
}

func BenchmarkChecksum(b *testing.B) {
	data := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{3}).Read(data)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		checksum(0, data)
	}
}
