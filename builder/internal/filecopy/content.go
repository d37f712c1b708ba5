//go:build linux

package filecopy

import (
	"io"
	"os"

	"github.com/zeebo/blake3"
	"golang.org/x/sys/unix"
)

const (
	pouredBlock  = 256 << 10
	pouredBlocks = 4
	// pouredAlone is the size of a file below which nothing is won by other goroutines.
	pouredAlone = 64 << 10
)

// pourer copies files and digests each on the way, the larger ones beside the writing.
type pourer struct {
	free  chan []byte // what nobody reads any more
	block []byte      // for small files
}

// pour copies a file of some size. What it writes goes to beside, too, which never fails.
func (p *pourer) pour(in io.Reader, out *os.File, beside io.Writer, size int64) ([32]byte, error) {
	if size < pouredAlone {
		return p.small(in, io.MultiWriter(out, beside))
	}
	if p.free == nil {
		p.free = make(chan []byte, pouredBlocks)
		for range pouredBlocks {
			p.free <- make([]byte, pouredBlock)
		}
	}
	full, sum := make(chan []byte, pouredBlocks), make(chan [32]byte)
	go func() {
		h := blake3.New()
		for b := range full {
			_, _ = h.Write(b)
			p.free <- b[:cap(b)]
		}
		sum <- [32]byte(h.Sum(nil))
	}()
	err := p.blocks(in, full, io.MultiWriter(out, beside))
	close(full)
	return <-sum, err
}

// blocks copies a file and has each block digested. A block that has been digested comes back, but is not
// filled again before it is written.
func (p *pourer) blocks(in io.Reader, full chan<- []byte, out io.Writer) error {
	for {
		b := <-p.free
		n, err := in.Read(b)
		full <- b[:n]
		if n > 0 {
			if _, err := out.Write(b[:n]); err != nil {
				return err
			}
		}
		switch err {
		case nil:
		case io.EOF: //nolint:errorlint // a reader gives it so
			return nil
		default:
			return err
		}
	}
}

func (p *pourer) small(in io.Reader, out io.Writer) ([32]byte, error) {
	if p.block == nil {
		p.block = make([]byte, pouredAlone)
	}
	h := blake3.New()
	_, err := io.CopyBuffer(io.MultiWriter(out, h), in, p.block)
	return [32]byte(h.Sum(nil)), err
}

// inodeOf is the number of a file's inode.
func inodeOf(f *os.File) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return st.Ino, nil
}
