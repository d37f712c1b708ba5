//go:build linux

// Package layertar reads an overlay upper directory once, as the tar stream that the
// layer is elsewhere, without writing the stream anywhere: it gives the stream's
// digest and length, and the tar-split records from which containers/storage makes
// the same bytes again.
//
// Whiteouts and opaque directories are in the form of the OCI image layer
// specification ("Representing Changes"). Directories are walked by descriptor.
package layertar

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"

	digest "github.com/opencontainers/go-digest"
	tarsplit "github.com/vbatts/tar-split/tar/storage"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/openat2"
	"github.com/oakum-build/oakum/storage/tarfilter"
)

// Result is what a layer is as a tar stream.
type Result struct {
	DiffID     digest.Digest
	Size       int64
	UIDs, GIDs []uint32
}

// Upper is a finished upper directory.
type Upper struct {
	Dir    *os.File
	Lowers []*os.File // the layers below it, in which an opaque directory must exist to matter
	Opaque string     // the attribute by which overlay marked one: the other mode's is any file's to set
	Attrs  Attributes // what Guard found
}

// Digest reads an upper directory. The tar-split records go to split.
func (u Upper) Digest(split io.Writer) (Result, error) {
	s := newStream(tarsplit.NewJSONPacker(split))
	r, err := u.walk(s)
	sum, sumErr := s.finish()
	r.DiffID, r.Size = sum, s.size
	if err := errors.Join(err, sumErr); err != nil {
		return Result{}, err
	}
	return r, nil
}

// sink is what a walker writes to: a stream, or its outline alone.
type sink interface {
	io.Writer // of archive/tar
	// file takes the content of a file, after its header.
	file(hdr *tar.Header, st *unix.Stat_t, open func() (*os.File, error), tw *tar.Writer) error
	// noContent takes an entry that is a header alone.
	noContent(name string) error
}

// walk writes an upper directory. Of the Result it gives the owners.
func (u Upper) walk(to sink) (Result, error) {
	w := &walker{Upper: u, out: to, tw: tar.NewWriter(to), links: map[uint64]string{}, uids: map[uint32]struct{}{}, gids: map[uint32]struct{}{}}
	root, err := openAt(u.Dir, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return Result{}, &os.PathError{Op: "open", Path: u.Dir.Name(), Err: err}
	}
	defer root.Close()
	if err := w.children(root, ""); err != nil {
		return Result{}, err
	}
	if err := w.tw.Close(); err != nil {
		return Result{}, err
	}
	return Result{UIDs: slices.Sorted(maps.Keys(w.uids)), GIDs: slices.Sorted(maps.Keys(w.gids))}, nil
}

type walker struct {
	Upper
	out        sink
	tw         *tar.Writer
	links      map[uint64]string // the first name of each inode with several
	uids, gids map[uint32]struct{}
}

func (w *walker) children(dir *os.File, rel string) error {
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("reading %s: %w", rel, err)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := w.entry(dir, name, path.Join(rel, name)); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) entry(dir *os.File, name, rel string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "stat", Path: rel, Err: err}
	}
	kind := st.Mode & unix.S_IFMT
	if kind == unix.S_IFSOCK {
		return nil // a tar cannot hold it
	}
	if kind == unix.S_IFCHR && st.Rdev == 0 {
		return w.marker(tarfilter.Whiteout(rel, &st))
	}
	w.uids[st.Uid], w.gids[st.Gid] = struct{}{}, struct{}{}
	hdr, err := w.header(dir, name, rel, &st)
	if err != nil {
		return err
	}
	if err := w.tw.WriteHeader(hdr); err != nil {
		return fmt.Errorf("%s: %w", rel, err)
	}
	switch {
	case kind == unix.S_IFDIR:
		return w.directory(dir, name, rel, &st)
	case hdr.Typeflag == tar.TypeReg:
		return w.content(dir, name, hdr, &st)
	}
	return w.out.noContent(hdr.Name)
}

// marker writes the empty file that stands for a removal.
func (w *walker) marker(hdr *tar.Header) error {
	return errors.Join(w.tw.WriteHeader(hdr), w.out.noContent(hdr.Name))
}

func (w *walker) directory(dir *os.File, name, rel string, st *unix.Stat_t) error {
	sub, err := openAt(dir, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return &os.PathError{Op: "open", Path: rel, Err: err}
	}
	defer sub.Close()
	if err := w.out.noContent(rel + "/"); err != nil {
		return err
	}
	hides, err := w.hides(sub, rel)
	if err != nil {
		return err
	}
	if hides {
		if err := w.marker(tarfilter.Opaque(rel, st)); err != nil {
			return err
		}
	}
	return w.children(sub, rel)
}

// hides says whether a directory hides something of the layers below, which the stream must say.
func (w *walker) hides(dir *os.File, rel string) (bool, error) {
	opaque, err := w.isOpaque(dir)
	if err != nil {
		return false, &os.PathError{Op: "getxattr " + w.Opaque, Path: rel, Err: err}
	}
	if !opaque {
		return false, nil
	}
	there, err := w.inLower(rel)
	if err != nil {
		return false, &os.PathError{Op: "open in a layer below", Path: rel, Err: err}
	}
	return there, nil
}

// isOpaque says whether overlay hides the directories below this one. It marks every
// new directory so.
func (w *walker) isOpaque(dir *os.File) (bool, error) {
	var value [1]byte
	n, err := unix.Fgetxattr(int(dir.Fd()), w.Opaque, value[:])
	switch {
	case err == nil:
		return n == 1 && value[0] == 'y', nil
	case errors.Is(err, unix.ENODATA), errors.Is(err, unix.ENOTSUP):
		return false, nil
	case errors.Is(err, unix.ERANGE): // a longer value, which is none of overlay's
		return false, nil
	}
	return false, err
}

// inLower says whether a layer below has something of this name. That it cannot be told is an error: what
// was taken for absent would come back in the layer.
func (w *walker) inLower(rel string) (bool, error) {
	for _, lower := range w.Lowers {
		fd, err := openat2.Open(int(lower.Fd()), rel, &unix.OpenHow{
			Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
		})
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			continue
		}
		if err != nil {
			return false, err
		}
		var st unix.Stat_t
		err = unix.Fstat(fd, &st)
		unix.Close(fd)
		if err != nil {
			return false, err
		}
		return st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != 0, nil
	}
	return false, nil
}

// header makes an entry's header.
func (w *walker) header(dir *os.File, name, rel string, st *unix.Stat_t) (*tar.Header, error) {
	first := ""
	if st.Mode&unix.S_IFMT != unix.S_IFDIR && st.Nlink > 1 {
		if first = w.links[st.Ino]; first == "" {
			w.links[st.Ino] = rel
		}
	}
	target := ""
	if first == "" && st.Mode&unix.S_IFMT == unix.S_IFLNK {
		var err error
		if target, err = readlink(dir, name); err != nil {
			return nil, err
		}
	}
	return header(rel, st, first, target, w.Attrs[rel]), nil
}

// header makes the header of an entry. first is the first name of its file, unless this is that; target
// is where a symbolic link leads. A socket has none.
func header(rel string, st *unix.Stat_t, first, target string, attrs map[string]string) *tar.Header {
	hdr := tarfilter.Header(rel, st, first)
	switch {
	case hdr == nil || hdr.Typeflag == tar.TypeLink:
	case hdr.Typeflag == tar.TypeSymlink: // links have no attributes that a layer keeps
		hdr.Linkname = target
	default:
		for attr, value := range attrs {
			tarfilter.SetXattr(hdr, attr, value)
		}
	}
	return hdr
}

func readlink(dir *os.File, name string) (string, error) {
	buf := make([]byte, 4097)
	n, err := unix.Readlinkat(int(dir.Fd()), name, buf)
	if err != nil {
		return "", &os.PathError{Op: "readlink", Path: name, Err: err}
	}
	return string(buf[:n]), nil
}

func openAt(dir *os.File, name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (w *walker) content(dir *os.File, name string, hdr *tar.Header, st *unix.Stat_t) error {
	if hdr.Size == 0 {
		return w.out.noContent(hdr.Name)
	}
	open := func() (*os.File, error) { return openAt(dir, name, unix.O_RDONLY) }
	if err := w.out.file(hdr, st, open, w.tw); err != nil {
		return fmt.Errorf("reading %s: %w", hdr.Name, err)
	}
	return nil
}
