//go:build linux

package filecopy

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"github.com/zeebo/blake3"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/fingerprints"
)

// Digest walks a source and gives the digest of all that a copy of it would read.
func Digest(ctx context.Context, src Tree) (string, error) {
	d := newDigester(ctx, &src)
	if err := walk(ctx, &src, d); err != nil {
		return "", err
	}
	return d.end(), nil
}

// digester makes the digest of a source. Times are left out but of timed sources: a fresh
// clone has the same key.
type digester struct {
	ctx    context.Context
	h      *blake3.Hasher
	to     *bufio.Writer // h, which takes long for a few bytes at a time
	sums   FileSums
	files  uint64               // how many regular files there were so far
	inodes map[[2]uint64]uint64 // the number, among these, of the first name of a file with several
	list   *fingerprints.Listing
}

func newDigester(ctx context.Context, src *Tree) *digester {
	src.Listing.Begin()
	h := blake3.New()
	return &digester{ctx: ctx, h: h, to: bufio.NewWriter(h), sums: src.Sums, inodes: map[[2]uint64]uint64{}, list: src.Listing}
}

// end gives the digest of all that was walked.
func (d *digester) end() string {
	_ = d.to.Flush() // never fails
	digest := fmt.Sprintf("%x", d.h.Sum(nil))
	d.list.End(digest)
	return digest
}

func (d *digester) top(_ *Tree, name string, isDir bool) error {
	clear(d.inodes)
	d.files = 0
	if isDir {
		d.text("dir")
		return nil
	}
	d.text("file")
	d.text(name)
	return nil
}

func (d *digester) text(s string) {
	d.numbers(uint64(len(s)))
	_, _ = d.to.WriteString(s)
}

func (d *digester) numbers(v ...uint64) {
	for _, n := range v {
		_, _ = d.to.Write(binary.LittleEndian.AppendUint64(d.to.AvailableBuffer(), n))
	}
}

func (d *digester) leave(*Tree, *entry) error { return nil }

func (d *digester) visit(src *Tree, e *entry) error {
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

func (d *digester) content(sum [32]byte) {
	_, _ = d.to.Write(sum[:])
	d.list.SetContent(sum)
}

// meta digests all of an entry but a regular file's content. Of a directory that is copied
// itself only what is in it is: the destination keeps its mode and owner.
func (d *digester) meta(src *Tree, e *entry) error {
	if e.rel == "" && e.kind() == unix.S_IFDIR && !src.Top {
		return nil
	}
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
		d.listed(src, e, target, 0)
		return nil
	}
	if src.Timed && e.kind() == unix.S_IFREG {
		d.numbers(uint64(e.st.Mtim.Nano()))
	}
	first := d.firstName(e)
	if first > 0 {
		d.numbers(first)
	}
	if err := d.xattrs(src, e); err != nil {
		return err
	}
	d.listed(src, e, "", first)
	return nil
}

// firstName is the number of the name that a regular file was met by before, 0 for none. Which names are one file is part
// of the result; inode numbers and names elsewhere are not.
func (d *digester) firstName(e *entry) uint64 {
	if e.kind() != unix.S_IFREG {
		return 0
	}
	d.files++
	if e.st.Nlink < 2 {
		return 0
	}
	key := [2]uint64{e.st.Dev, e.st.Ino}
	first := d.inodes[key]
	if first == 0 {
		d.inodes[key] = d.files
	}
	return first
}

// listed tells the listing of an entry: target is where a link leads, and first that of firstName.
func (d *digester) listed(src *Tree, e *entry, target string, first uint64) {
	if d.list == nil {
		return
	}
	f := fingerprints.File{Path: e.from, Mode: e.st.Mode, Owned: src.Owner == nil}
	if f.Owned {
		f.UID, f.GID = e.st.Uid, e.st.Gid
	}
	var more []string
	if target != "" || e.st.Rdev != 0 || first != 0 || len(e.attrs) > 0 {
		more = append(more, target, fmt.Sprint(e.st.Rdev, first))
		for _, a := range e.attrs {
			more = append(more, a.Name, string(a.Value))
		}
	}
	if src.Timed && e.kind() == unix.S_IFREG {
		more = append(more, fmt.Sprint(e.st.Mtim.Nano()))
	}
	d.list.Add(f, strings.Join(more, "\x00"))
}

func (d *digester) xattrs(src *Tree, e *entry) error {
	if e.kind() != unix.S_IFREG && e.kind() != unix.S_IFDIR {
		return nil
	}
	attrs, err := e.xattrs(src)
	if err != nil {
		return err
	}
	for _, a := range attrs {
		d.text(a.Name)
		d.text(string(a.Value))
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
