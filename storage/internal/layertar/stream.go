//go:build linux

package layertar

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/binary"
	"hash/crc64"
	"io"

	digest "github.com/opencontainers/go-digest"
	tarsplit "github.com/vbatts/tar-split/tar/storage"
)

// stream takes a tar stream from archive/tar. Headers and padding become tar-split
// segments; of file content only a checksum is kept. SHA-256 runs beside the reading
// of the next block.
type stream struct {
	packer  tarsplit.Packer
	segment []byte // headers and padding since the last record
	content bool   // what is written is file content, handled by file
	size    int64
	blocks  chan []byte
	free    chan []byte
	made    int // blocks made
	sum     chan digest.Digest
}

const (
	blockSize  = 1 << 20
	blockCount = 4
)

func newStream(p tarsplit.Packer) *stream {
	s := &stream{packer: p, blocks: make(chan []byte, blockCount), free: make(chan []byte, blockCount), sum: make(chan digest.Digest, 1)}
	go func() {
		h := sha256.New()
		for b := range s.blocks {
			h.Write(b)
			if cap(b) == blockSize {
				s.free <- b[:blockSize]
			}
		}
		s.sum <- digest.NewDigest(digest.SHA256, h)
	}()
	return s
}

// block gives a buffer, a new one while there are few.
func (s *stream) block() []byte {
	select {
	case b := <-s.free:
		return b
	default:
	}
	if s.made < blockCount {
		s.made++
		return make([]byte, blockSize)
	}
	return <-s.free
}

// Write takes what archive/tar writes. Content has been sent to the digest already.
func (s *stream) Write(p []byte) (int, error) {
	s.size += int64(len(p))
	if s.content {
		return len(p), nil
	}
	s.segment = append(s.segment, p...)
	s.blocks <- append([]byte(nil), p...)
	return len(p), nil
}

// flush records the segment so far.
func (s *stream) flush() error {
	if len(s.segment) == 0 {
		return nil
	}
	_, err := s.packer.AddEntry(tarsplit.Entry{Type: tarsplit.SegmentType, Payload: s.segment})
	s.segment = nil
	return err
}

// file sends the content of a file, size bytes of r, after its header.
func (s *stream) file(name string, size int64, r io.Reader, tw *tar.Writer) error {
	if err := s.flush(); err != nil {
		return err
	}
	var crc uint64
	s.content = true
	defer func() { s.content = false }()
	r = io.LimitReader(r, size)
	for left := size; left > 0; {
		b := s.block()
		n, err := io.ReadFull(r, b[:min(left, blockSize)])
		if err != nil {
			s.free <- b
			return err // a file that shrank: the layer is not what was asked for
		}
		crc = crc64.Update(crc, tarsplit.CRCTable, b[:n])
		if _, err := tw.Write(b[:n]); err != nil {
			s.free <- b
			return err
		}
		s.blocks <- b[:n]
		left -= int64(n)
	}
	return s.record(name, size, binary.BigEndian.AppendUint64(nil, crc))
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
	close(s.blocks)
	return <-s.sum, err
}
