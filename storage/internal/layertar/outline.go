//go:build linux

package layertar

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"os"

	"golang.org/x/sys/unix"
)

// outline is a stream without what is in its files: of each only which file it is. Two streams of one
// outline are the same, as long as the files are.
type outline struct {
	segment []byte // headers and padding since the last file
	sum     hash.Hash
}

func newOutline() outline { return outline{sum: sha256.New()} }

// header adds headers and padding.
func (o *outline) header(p []byte) { o.segment = append(o.segment, p...) }

// cut ends the segment, and gives it until the next is begun.
func (o *outline) cut() []byte {
	segment := o.segment
	o.sum.Write(segment)
	o.segment = o.segment[:0]
	return segment
}

// is adds a file with content.
func (o *outline) is(st *unix.Stat_t) {
	var id [24]byte
	binary.LittleEndian.PutUint64(id[:], st.Ino)
	binary.LittleEndian.PutUint64(id[8:], uint64(st.Size))
	binary.LittleEndian.PutUint64(id[16:], uint64(st.Mtim.Nano()))
	o.sum.Write(id[:])
}

// drawing is a sink that makes the outline alone.
type drawing struct {
	outline
	content bool // what archive/tar writes is file content
}

func (d *drawing) Write(p []byte) (int, error) {
	if !d.content {
		d.header(p)
	}
	return len(p), nil
}

// zeros stand for what is in files.
var zeros [64 << 10]byte

func (d *drawing) file(hdr *tar.Header, st *unix.Stat_t, _ func() (*os.File, error), tw *tar.Writer) error {
	d.cut()
	d.is(st)
	d.content = true
	defer func() { d.content = false }()
	for left := hdr.Size; left > 0; {
		n, err := tw.Write(zeros[:min(left, int64(len(zeros)))])
		if err != nil {
			return err
		}
		left -= int64(n)
	}
	return nil
}

func (d *drawing) noContent(string) error {
	d.cut()
	return nil
}
