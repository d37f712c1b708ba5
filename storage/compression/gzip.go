package compression

import (
	"encoding/binary"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/flate"
)

// gzipBlock is how much of a tar is compressed at once, with what is before it as its dictionary. The
// bytes depend on it.
const gzipBlock = 1 << 20

// gzipWindow is how far back DEFLATE refers (RFC 1951, section 2).
const gzipWindow = 32 << 10

// gzipHeader says nothing of the stream but that it is DEFLATE: no time, no name, of no known system
// (RFC 1952, section 2.3).
var gzipHeader = [10]byte{0x1f, 0x8b, 8, 9: 0xff}

func newGzip(w io.Writer, level *int) (io.WriteCloser, error) {
	l := flate.DefaultCompression
	if level != nil {
		l = *level
	}
	g := &gzipper{level: l, deflaters: make(chan *deflater, processors())}
	for range cap(g.deflaters) {
		g.deflaters <- nil // made when it is needed
	}
	return newBlocks(w, gzipBlock, g), nil
}

// gzipper makes one member of gzip of all blocks.
type gzipper struct {
	level     int
	window    []byte // the end of the block before
	sum, size uint32
	deflaters chan *deflater
}

func (g *gzipper) begin(b *block) bool {
	b.before = append(b.before, g.window...)
	g.window = append(g.window[:0], b.in[max(0, len(b.in)-gzipWindow):]...)
	g.sum = crc32.Update(g.sum, crc32.IEEETable, b.in)
	g.size += uint32(len(b.in)) // modulo 2^32, as the format has it
	if b.first {
		b.out = append(b.out, gzipHeader[:]...)
	}
	if b.last {
		b.tail = binary.LittleEndian.AppendUint32(b.tail, g.sum)
		b.tail = binary.LittleEndian.AppendUint32(b.tail, g.size)
	}
	return true
}

func (g *gzipper) encode(b *block) {
	d := <-g.deflaters
	if d == nil {
		d = newDeflater(g.level)
	}
	d.encode(b)
	g.deflaters <- d
	b.out = append(b.out, b.tail...)
}

// deflater compresses a block at a time. Repetitions are searched for only where there are any: of
// random letters, numbers or weights of a model the search makes nothing smaller, at a tenth
// of the speed.
type deflater struct {
	level               int
	codes, quick, usual *flate.Writer // Huffman codes alone, the quickest search, and the level's
}

// newDeflater makes one of a level that Choice.Check has looked at, so that nothing fails.
func newDeflater(level int) *deflater {
	d := &deflater{level: level}
	d.usual, _ = flate.NewWriter(io.Discard, level)
	return d
}

func (d *deflater) encode(b *block) {
	out, start := (*output)(&b.out), len(b.out)
	only := d.onlyCodes(b, out)
	w := d.codes
	if !only {
		b.out = b.out[:start]
		w = d.usual
		w.ResetDict(out, b.before)
		_, _ = w.Write(b.in)
	}
	// Nothing fails that is written to memory.
	if b.last {
		_ = w.Close()
	} else {
		_ = w.Flush()
	}
}

// probe is the part of a block that is looked at by itself.
const probe = 64 << 10

// onlyCodes writes a block as Huffman codes alone. It is false as soon as a search for repetitions makes a
// part of it notably smaller; then what was written is to be thrown away. As a rule that is the first part.
func (d *deflater) onlyCodes(b *block, out *output) bool {
	if d.level == flate.NoCompression || len(b.in) < probe {
		return false
	}
	if d.codes == nil {
		d.codes, _ = flate.NewWriter(io.Discard, flate.HuffmanOnly)
		d.quick, _ = flate.NewWriter(io.Discard, flate.BestSpeed)
	}
	var searched counter
	d.codes.Reset(out)
	d.quick.ResetDict(&searched, b.before)
	half := len(b.in) / 2 / probe * probe
	for at := 0; at < len(b.in); at += probe {
		part := b.in[at:min(at+probe, len(b.in))]
		start := len(*out)
		if _, err := d.codes.Write(part); err != nil || d.codes.Flush() != nil {
			return false
		}
		coded := len(*out) - start
		coded -= coded / 256 // for which nobody would wait ten times as long
		searched = 0
		if _, err := d.quick.Write(part); err != nil || d.quick.Flush() != nil || int(searched) < coded {
			return false
		}
		if at == half && d.searched(b, at, part) < coded {
			return false
		}
	}
	return true
}

// searched is how long a part of a block becomes by the level's search.
func (d *deflater) searched(b *block, at int, part []byte) int {
	before := b.before
	if at > 0 {
		before = b.in[max(0, at-gzipWindow):at]
	}
	var n counter
	d.usual.ResetDict(&n, before)
	_, _ = d.usual.Write(part)
	_ = d.usual.Flush()
	return int(n)
}

type output []byte

func (o *output) Write(p []byte) (int, error) {
	*o = append(*o, p...)
	return len(p), nil
}

type counter int

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
