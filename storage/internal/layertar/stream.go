//go:build linux

package layertar

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"os"

	digest "github.com/opencontainers/go-digest"
	tarsplit "github.com/vbatts/tar-split/tar/storage"
	"golang.org/x/sys/unix"
)

// stream takes a tar stream from archive/tar, in blocks. Beside what fills the next block, the last ones are
// digested, and recorded for tar-split: headers and padding as segments, of file content only a checksum.
type stream struct {
	outline // of what has been recorded
	packer  tarsplit.Packer
	crc     uint64 // of the present file, until now

	content bool // what archive/tar writes is file content, handled by file or filled
	size    int64
	now     *file  // whose content comes
	block   *block // that is being filled; nil when the stream is finished
	blocks  chan *block
	free    chan *block
	made    int // blocks of the full size
	sum     chan summed
}

// block is a part of the stream.
type block struct {
	bytes []byte
	parts []part // of files; all else is headers and padding
}

// part is a part of a file's content, or stands where an entry without content is.
type part struct {
	*file
	from, to   int // in the block
	begin, end bool
}

// file is an entry of a regular file, or of one without content.
type file struct {
	name    string
	size    int64
	st      *unix.Stat_t // nil without content
	crc     uint64
	checked bool // crc is the checksum of the content, which need not be made any more
}

type summed struct {
	digest digest.Digest
	err    error
}

const (
	firstSize  = 32 << 10 // of the first block, which is all that most layers need
	blockSize  = 256 << 10
	blockCount = 8
	leastRoom  = 16 << 10 // for content, else the block is full
)

func newStream(p tarsplit.Packer) *stream {
	s := &stream{
		outline: newOutline(), packer: p, block: &block{bytes: make([]byte, 0, firstSize)},
		blocks: make(chan *block, blockCount), free: make(chan *block, blockCount), sum: make(chan summed, 1),
	}
	go s.digestBlocks()
	return s
}

// digestBlocks digests and records what comes.
func (s *stream) digestBlocks() {
	h := sha256.New()
	var err error
	for b := range s.blocks {
		h.Write(b.bytes)
		if err == nil {
			err = s.recordBlock(b)
		}
		if cap(b.bytes) == blockSize {
			b.bytes, b.parts = b.bytes[:0], b.parts[:0]
			s.free <- b
		}
	}
	err = errors.Join(err, s.flush())
	s.sum <- summed{digest.NewDigest(digest.SHA256, h), err}
}

func (s *stream) recordBlock(b *block) error {
	at := 0
	for _, p := range b.parts {
		s.header(b.bytes[at:p.from])
		if p.begin {
			if err := s.flush(); err != nil {
				return err
			}
			if s.crc = 0; p.st != nil {
				s.is(p.st)
			}
		}
		if !p.checked {
			s.crc = checksum(s.crc, b.bytes[p.from:p.to])
		}
		if p.end {
			if err := s.record(p.file); err != nil {
				return err
			}
		}
		at = p.to
	}
	s.header(b.bytes[at:])
	return nil
}

// flush records the segment so far.
func (s *stream) flush() error {
	segment := s.cut()
	if len(segment) == 0 {
		return nil
	}
	_, err := s.packer.AddEntry(tarsplit.Entry{Type: tarsplit.SegmentType, Payload: segment})
	return err
}

func (s *stream) record(f *file) error {
	entry := tarsplit.Entry{Type: tarsplit.FileType, Size: f.size}
	if f.st != nil {
		if f.checked {
			s.crc = f.crc
		}
		entry.Payload = binary.BigEndian.AppendUint64(nil, s.crc)
	}
	entry.SetName(f.name)
	_, err := s.packer.AddEntry(entry)
	return err
}

// room is the part of the block that is left, at least some bytes.
func (s *stream) room(least int) []byte {
	if cap(s.block.bytes)-len(s.block.bytes) < least {
		s.blocks <- s.block
		s.block = s.next()
	}
	return s.block.bytes[len(s.block.bytes):cap(s.block.bytes)]
}

// next gives an empty block, a new one while there are few.
func (s *stream) next() *block {
	select {
	case b := <-s.free:
		return b
	default:
	}
	if s.made < blockCount {
		s.made++
		return &block{bytes: make([]byte, 0, blockSize)}
	}
	return <-s.free
}

// Write takes what archive/tar writes. Content is in the block already.
func (s *stream) Write(p []byte) (int, error) {
	s.size += int64(len(p))
	for rest := p; len(rest) > 0 && !s.content; {
		n := copy(s.room(1), rest)
		s.block.bytes = s.block.bytes[:len(s.block.bytes)+n]
		rest = rest[n:]
	}
	return len(p), nil
}

// begin begins the content of a file, after its header.
func (s *stream) begin(hdr *tar.Header, st *unix.Stat_t) {
	s.now = &file{name: hdr.Name, size: hdr.Size, st: st}
	s.add(part{file: s.now, begin: true}, 0)
	s.content = true
}

// filled says that bytes of content were put into the room.
func (s *stream) filled(n int, tw *tar.Writer) error {
	p := s.block.bytes[len(s.block.bytes):][:n]
	s.add(part{file: s.now}, n)
	_, err := tw.Write(p)
	return err
}

// end ends the content of a file.
func (s *stream) end() {
	s.content = false
	s.add(part{file: s.now, end: true}, 0)
	s.now = nil
}

// add adds a part of so many bytes, which are in the room.
func (s *stream) add(p part, n int) {
	p.from = len(s.block.bytes)
	p.to = p.from + n
	s.block.bytes, s.block.parts = s.block.bytes[:p.to], append(s.block.parts, p)
}

// file reads a file. Its checksum is made here: who only reads has less to do than who digests.
func (s *stream) file(hdr *tar.Header, st *unix.Stat_t, open func() (*os.File, error), tw *tar.Writer) error {
	s.begin(hdr, st)
	s.now.checked = true
	f, err := open()
	if err != nil {
		return err
	}
	defer f.Close()
	for left := hdr.Size; left > 0; {
		b := s.room(leastRoom)
		n, err := io.ReadFull(f, b[:min(left, int64(len(b)))])
		if err != nil {
			return err // a file that shrank: the layer is not what was asked for
		}
		s.now.crc = checksum(s.now.crc, b[:n])
		if err := s.filled(n, tw); err != nil {
			return err
		}
		left -= int64(n)
	}
	s.end()
	return nil
}

// noContent takes an entry that is a header alone.
func (s *stream) noContent(name string) error {
	s.add(part{file: &file{name: name}, begin: true, end: true}, 0)
	return nil
}

// finish ends the stream and gives its digest.
func (s *stream) finish() (digest.Digest, error) {
	s.blocks <- s.block
	close(s.blocks)
	sum := <-s.sum
	s.block, s.free = nil, nil
	return sum.digest, sum.err
}
