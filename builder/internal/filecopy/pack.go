//go:build linux

package filecopy

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"path"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/tarfilter"
)

// Packer writes trees into one tar archive: PAX, times in whole seconds, numeric owners, in an order that
// depends on names alone, each directory before what is in it. The zero value of the fields is a tar that has
// all that the files have.
type Packer struct {
	// Plain leaves out what an ordinary user's directory cannot hold, or should not without the
	// owners of the files: device nodes, and set-id bits of files that are not directories.
	Plain bool
	// LeftOut is told what is left out; it may be nil.
	LeftOut *tarfilter.LeftOut

	to    *tar.Writer
	ctx   context.Context
	under string             // of the present tree
	item  string             // the name of a single file
	tree  int                // counts the trees
	label string             // of the present one, for errors
	links map[inode]string   // the first names of the present tree's files with several
	taken map[string]written // by name, what an archive of several trees has
}

// written is an entry of an archive.
type written struct {
	dir  bool
	tree int
	from string // the label of the tree
}

// NewPacker begins an archive of one tree, or of several, which ends with Close.
func NewPacker(to io.Writer, several bool) *Packer {
	p := &Packer{to: tar.NewWriter(to)}
	if several {
		p.taken = map[string]written{}
	}
	return p
}

// Close ends the archive.
func (p *Packer) Close() error { return p.to.Close() }

// Add writes what is taken of a tree, as COPY does with the directory under, "" being the archive's root, for its
// destination: of a directory it writes what is in it. label names the tree in errors. A
// file that another tree has, too, is an error that matches limits.ErrInvalid.
func (p *Packer) Add(ctx context.Context, under, label string, src Tree) error {
	p.ctx, p.under, p.label, p.links = ctx, path.Clean("/" + under)[1:], label, map[inode]string{}
	p.tree++
	for i := range p.under {
		if p.under[i] == '/' {
			if err := p.around(p.under[:i]); err != nil {
				return err
			}
		}
	}
	if err := p.around(p.under); err != nil {
		return err
	}
	return walk(ctx, &src, p)
}

// around writes a directory that files come into.
func (p *Packer) around(dir string) error {
	if dir == "" {
		return nil
	}
	if has, err := p.take(dir, true); has || err != nil {
		return err
	}
	return p.to.WriteHeader(tarfilter.Header(dir, &unix.Stat_t{Mode: unix.S_IFDIR | 0o755}, ""))
}

// take notes an entry, and says of a directory that the archive has it already.
func (p *Packer) take(name string, dir bool) (bool, error) {
	old, has := p.taken[name]
	switch {
	case p.taken == nil:
		return false, nil
	case !has, old.tree == p.tree:
		p.taken[name] = written{dir, p.tree, p.label}
		return false, nil
	case old.dir && dir:
		return true, nil
	}
	return false, &InvalidError{fmt.Sprintf("%s is in what is written of %s and of %s; keep them apart by a directory of its own for each", name, old.from, p.label)}
}

func (p *Packer) top(_ *Tree, name string, _ bool) error {
	p.item = name
	return nil
}

func (p *Packer) leave(*Tree, *entry) error { return nil }

func (p *Packer) visit(src *Tree, e *entry) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	name := path.Join(p.under, e.rel)
	switch isDir := e.kind() == unix.S_IFDIR; {
	case e.rel == "" && isDir:
		return nil // only what is in it
	case e.rel == "":
		name = path.Join(p.under, p.item)
	}
	if kind := e.kind(); p.Plain && (kind == unix.S_IFCHR || kind == unix.S_IFBLK) {
		p.LeftOut.Device("/" + name)
		return nil
	}
	if has, err := p.take(name, e.kind() == unix.S_IFDIR); has || err != nil {
		return err
	}
	h, err := p.header(src, e, name)
	if err != nil {
		return err
	}
	if err := p.to.WriteHeader(h); err != nil {
		return fmt.Errorf("%s: %w", e.label(), err)
	}
	if h.Typeflag != tar.TypeReg || h.Size == 0 {
		return nil
	}
	return p.content(e, h.Size)
}

func (p *Packer) header(src *Tree, e *entry, name string) (*tar.Header, error) {
	st := *e.st
	st.Mode = st.Mode&unix.S_IFMT | mode(src, e)
	if p.Plain && e.kind() != unix.S_IFDIR {
		st.Mode &^= unix.S_ISUID | unix.S_ISGID
	}
	if src.Owner != nil {
		st.Uid, st.Gid = uint32(src.Owner.UID), uint32(src.Owner.GID)
	}
	first := ""
	if e.kind() != unix.S_IFDIR && st.Nlink > 1 {
		key := inode{st.Dev, st.Ino}
		if first = p.links[key]; first == "" {
			p.links[key] = name
		}
	}
	h := tarfilter.Header(name, &st, first)
	if h.Typeflag == tar.TypeSymlink {
		var err error
		if h.Linkname, err = readlink(e); err != nil {
			return nil, err
		}
	}
	if h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeDir {
		return h, nil
	}
	attrs, err := e.xattrs(src)
	if err != nil {
		return nil, err
	}
	for _, a := range attrs {
		tarfilter.SetXattr(h, a.Name, string(a.Value))
	}
	return h, nil
}

func (p *Packer) content(e *entry, size int64) error {
	f, err := e.open()
	if err != nil {
		return err
	}
	defer f.Close()
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	// Neither side may read or write by itself, past the context and the size.
	n, err := io.CopyBuffer(onlyWriter{p.to}, io.LimitReader(Reader(p.ctx, f), size), *buf)
	if err == nil && n < size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", e.label(), err)
	}
	return nil
}

type onlyWriter struct{ io.Writer }
