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
	// hashedAtOnce is what BLAKE3 takes at once. A rest is copied, and then all that follows.
	hashedAtOnce = 8 << 10
)

// pourer copies files and digests each on the way.
type pourer struct {
	h     *blake3.Hasher
	block []byte      // where to has no room
	free  chan []byte // what nobody reads any more
}

// pour copies a file of some size, of which to is told. The digest of a larger one is made beside the writing, unless to
// has work to do there.
func (p *pourer) pour(in io.Reader, out *os.File, to Ahead, size int64) ([32]byte, error) {
	if size >= pouredAlone && !to.Going() {
		return p.beside(in, out)
	}
	if p.h == nil {
		p.h = blake3.New()
	}
	p.h.Reset()
	for {
		b := p.room(to)
		n, err := in.Read(b)
		if n > 0 {
			_, _ = p.h.Write(b[:n]) // never fails
			if _, err := out.Write(b[:n]); err != nil {
				return [32]byte{}, err
			}
			to.Filled(n)
		}
		if err != nil {
			if err == io.EOF { //nolint:errorlint // a reader gives it so
				err = nil
			}
			return [32]byte(p.h.Sum(nil)), err
		}
	}
}

func (p *pourer) room(to Ahead) []byte {
	if room := to.Room(); room != nil {
		return room[:len(room)&^(hashedAtOnce-1)]
	}
	if p.block == nil {
		p.block = make([]byte, pouredAlone)
	}
	return p.block
}

// beside copies a file that another goroutine digests.
func (p *pourer) beside(in io.Reader, out *os.File) ([32]byte, error) {
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
	err := p.blocks(in, full, out)
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

// inodeOf is the number of a file's inode.
func inodeOf(f *os.File) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return st.Ino, nil
}
