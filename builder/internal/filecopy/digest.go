//go:build linux

package filecopy

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/zeebo/blake3"
	"golang.org/x/sys/unix"
)

// Digest walks sources and gives the digest of all that a copy would read. sums may be
// nil.
func Digest(ctx context.Context, sources []Source, sums FileSums) (string, error) {
	d := newDigester(ctx, sums)
	if err := walk(ctx, sources, d); err != nil {
		return "", err
	}
	return d.sum(), nil
}

// digester makes the digest. Times are left out but of timed sources: a fresh clone has
// the same key.
type digester struct {
	ctx    context.Context
	h      *blake3.Hasher
	sums   FileSums
	inodes map[[2]uint64]uint64
}

func newDigester(ctx context.Context, sums FileSums) *digester {
	return &digester{ctx: ctx, h: blake3.New(), sums: sums, inodes: map[[2]uint64]uint64{}}
}

func (d *digester) sum() string {
	return fmt.Sprintf("%x", d.h.Sum(nil))
}

func (d *digester) top(_ *Source, name string, isDir bool) error {
	clear(d.inodes)
	if isDir {
		d.text("dir")
		return nil
	}
	d.text("file")
	d.text(name)
	return nil
}

func (d *digester) text(s string) {
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], uint64(len(s)))
	_, _ = d.h.Write(n[:])
	_, _ = d.h.WriteString(s)
}

func (d *digester) numbers(v ...uint64) {
	for _, n := range v {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], n)
		_, _ = d.h.Write(b[:])
	}
}

func (d *digester) leave(*Source, *entry) error { return nil }

func (d *digester) visit(src *Source, e *entry) error {
	if err := d.meta(src, e); err != nil {
		return err
	}
	if e.kind() != unix.S_IFREG {
		return nil
	}
	sum, err := d.fileSum(e)
	if err != nil {
		return err
	}
	d.content(sum)
	return nil
}

func (d *digester) content(sum [32]byte) { _, _ = d.h.Write(sum[:]) }

// meta digests all of an entry but a regular file's content.
func (d *digester) meta(src *Source, e *entry) error {
	d.text(e.rel)
	d.numbers(uint64(e.st.Mode), uint64(e.st.Rdev))
	if src.Owner == nil {
		d.numbers(uint64(e.st.Uid), uint64(e.st.Gid))
	}
	if e.kind() == unix.S_IFLNK {
		target, err := readlink(e)
		if err != nil {
			return err
		}
		d.text(target)
		return nil
	}
	if src.Timed && e.kind() == unix.S_IFREG {
		d.numbers(uint64(e.st.Mtim.Nano()))
	}
	if e.kind() == unix.S_IFREG && e.st.Nlink > 1 {
		// Which files are one is part of the result; their inode numbers are not.
		key := [2]uint64{e.st.Dev, e.st.Ino}
		n, seen := d.inodes[key]
		if !seen {
			n = uint64(len(d.inodes) + 1)
			d.inodes[key] = n
		}
		d.numbers(n)
	}
	return d.xattrs(e)
}

func (d *digester) xattrs(e *entry) error {
	if e.kind() != unix.S_IFREG && e.kind() != unix.S_IFDIR {
		return nil
	}
	attrs, err := e.xattrs()
	if err != nil {
		return err
	}
	for _, a := range attrs {
		d.text(a.name)
		d.text(string(a.value))
	}
	return nil
}

func (d *digester) fileSum(e *entry) ([32]byte, error) {
	if d.sums != nil {
		if sum, ok := d.sums.Get(e.st); ok {
			return sum, nil
		}
	}
	f, err := e.open()
	if err != nil {
		return [32]byte{}, err
	}
	defer f.Close()
	h := blake3.New()
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	if _, err := io.CopyBuffer(h, Reader(d.ctx, f), *buf); err != nil {
		return [32]byte{}, fmt.Errorf("reading %s: %w", e.label(), err)
	}
	sum := [32]byte(h.Sum(nil))
	if d.sums != nil {
		d.sums.Put(e.st, sum)
	}
	return sum, nil
}
