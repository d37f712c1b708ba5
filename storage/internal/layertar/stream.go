//go:build linux

package layertar

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"os"

	digest "github.com/opencontainers/go-digest"
	tarsplit "github.com/vbatts/tar-split/tar/storage"
	"golang.org/x/sys/unix"
)

// stream takes a tar stream from archive/tar. Headers and padding become tar-split
// segments; of file content only a checksum is kept. SHA-256 runs beside what fills the
// next block.
type stream struct {
	outline
	packer  tarsplit.Packer
	content bool // what archive/tar writes is file content, handled by file or part
	size    int64
	crc     uint64 // of the present file, until now
	block   []byte // that is being filled; nil when the stream is finished
	blocks  chan []byte
	free    chan []byte
	made    int // blocks of the full size
	sum     chan digest.Digest
}

const (
	firstSize  = 32 << 10 // of the first block, which is all that most layers need
	blockSize  = 1 << 20
	blockCount = 4
)

func newStream(p tarsplit.Packer) *stream {
	s := &stream{
		outline: newOutline(), packer: p, block: make([]byte, 0, firstSize),
		blocks: make(chan []byte, blockCount), free: make(chan []byte, blockCount), sum: make(chan digest.Digest, 1),
	}
	go func() {
		h := sha256.New()
		for b := range s.blocks {
			h.Write(b)
			if cap(b) == blockSize {
				s.free <- b[:0]
			}
		}
		s.sum <- digest.NewDigest(digest.SHA256, h)
	}()
	return s
}

// room is the part of the block that is left; there is some.
func (s *stream) room() []byte {
	if len(s.block) == cap(s.block) {
		s.blocks <- s.block
		s.block = s.next()
	}
	return s.block[len(s.block):cap(s.block)]
}

// next gives an empty block, a new one while there are few.
func (s *stream) next() []byte {
	select {
	case b := <-s.free:
		return b
	default:
	}
	if s.made < blockCount {
		s.made++
		return make([]byte, 0, blockSize)
	}
	return <-s.free
}

// filled says that bytes were put into the room.
func (s *stream) filled(n int) { s.block = s.block[:len(s.block)+n] }

// digest has bytes digested.
func (s *stream) digest(p []byte) {
	for len(p) > 0 {
		n := copy(s.room(), p)
		s.filled(n)
		p = p[n:]
	}
}

// Write takes what archive/tar writes. Content is digested by who writes it.
func (s *stream) Write(p []byte) (int, error) {
	s.size += int64(len(p))
	if !s.content {
		s.header(p)
		s.digest(p)
	}
	return len(p), nil
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

// begin begins the content of a file, after its header.
func (s *stream) begin(st *unix.Stat_t) error {
	err := s.flush()
	s.is(st)
	s.crc, s.content = 0, true
	return err
}

// end ends the content of a file.
func (s *stream) end(hdr *tar.Header) error {
	s.content = false
	return s.record(hdr.Name, hdr.Size, binary.BigEndian.AppendUint64(nil, s.crc))
}

// file reads a file.
func (s *stream) file(hdr *tar.Header, st *unix.Stat_t, open func() (*os.File, error), tw *tar.Writer) error {
	if err := s.begin(st); err != nil {
		return err
	}
	f, err := open()
	if err != nil {
		return err
	}
	defer f.Close()
	for left := hdr.Size; left > 0; {
		b := s.room()
		n, err := io.ReadFull(f, b[:min(left, int64(len(b)))])
		if err != nil {
			return err // a file that shrank: the layer is not what was asked for
		}
		s.crc = checksum(s.crc, b[:n])
		if _, err := tw.Write(b[:n]); err != nil {
			return err
		}
		s.filled(n)
		left -= int64(n)
	}
	return s.end(hdr)
}

// part sends a part of a file's content.
func (s *stream) part(p []byte, tw *tar.Writer) error {
	s.crc = checksum(s.crc, p)
	s.digest(p)
	_, err := tw.Write(p)
	return err
}

// noContent records an entry that is a header alone.
func (s *stream) noContent(name string) error {
	if err := s.flush(); err != nil {
		return err
	}
	return s.record(name, 0, nil)
}

func (s *stream) record(name string, size int64, sum []byte) error {
	entry := tarsplit.Entry{Type: tarsplit.FileType, Size: size, Payload: sum}
	entry.SetName(name)
	_, err := s.packer.AddEntry(entry)
	return err
}

// finish ends the stream and gives its digest.
func (s *stream) finish() (digest.Digest, error) {
	err := s.flush()
	s.blocks <- s.block
	close(s.blocks)
	sum := <-s.sum
	s.block, s.free = nil, nil
	return sum, err
}
