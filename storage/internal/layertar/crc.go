//go:build linux

package layertar

import (
	"encoding/binary"
	"hash/crc64"

	tarsplit "github.com/vbatts/tar-split/tar/storage"
)

// The checksums of tar-split are CRC-64 of ISO 3309, for which hash/crc64 takes longer than SHA-256 takes
// where the processor helps with that. Its polynomial is x^64 + x^4 + x^3 + x + 1. With y for x^64, that is
// y = x^4 + x^3 + x + 1, whose 64th power over GF(2) is y^64 = y^4 + y^3 + y + 1. So of a
// message of words each one is added to those 60, 61, 63 and 64 places behind it, and only the last 64 words are
// left to divide.

const (
	crcWords = 64       // that are left
	crcPiece = 1 << 10  // words that are folded at once
	crcLeast = 32 << 10 // bytes, below which folding saves little
)

// checksum adds p to a checksum, as crc64.Update does with tarsplit.CRCTable.
func checksum(crc uint64, p []byte) uint64 {
	if len(p) < crcLeast {
		return crc64.Update(crc, tarsplit.CRCTable, p)
	}
	var words [crcWords + crcPiece]uint64
	first := ^crc // which is added to the first word
	for len(p) >= 8 {
		n := min(len(p)/8, crcPiece)
		fold(words[:crcWords+n], p[:8*n], first)
		first, p = 0, p[8*n:]
		copy(words[:crcWords], words[n:n+crcWords])
	}
	// What the last words have added to each other is taken back.
	words[60] ^= words[0]
	words[61] ^= words[1] ^ words[0]
	words[62] ^= words[2] ^ words[1]
	words[63] ^= words[3] ^ words[2] ^ words[0]
	var rest [8 * crcWords]byte
	for i := range crcWords {
		binary.LittleEndian.PutUint64(rest[8*i:], words[i])
	}
	return crc64.Update(crc64.Update(^uint64(0), tarsplit.CRCTable, rest[:]), tarsplit.CRCTable, p)
}

// fold puts the words of p, to each of which those before it are added, behind the 64 words before them.
func fold(words []uint64, p []byte, first uint64) {
	n := len(p) / 8
	to := words[crcWords:][:n]
	a, b, c, d := words[:n], words[1:][:n], words[3:][:n], words[4:][:n]
	for i := range to {
		to[i] = binary.LittleEndian.Uint64(p[8*i:]) ^ a[i] ^ b[i] ^ c[i] ^ d[i] ^ first
		first = 0
	}
}
