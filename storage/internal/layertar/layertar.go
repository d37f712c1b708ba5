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
	"time"

	digest "github.com/opencontainers/go-digest"
	tarsplit "github.com/vbatts/tar-split/tar/storage"
	"golang.org/x/sys/unix"
)

// Result is what a layer is as a tar stream.
type Result struct {
	DiffID     digest.Digest
	Size       int64
	UIDs, GIDs []uint32
}

const (
	whiteoutPrefix = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
)

// Digest reads the upper directory dir. lowers are the layers below it, in which an
// opaque directory must exist to matter. opaque is the attribute by which overlay marked
// one: the other mode's is any file's to set. attrs are what Guard found. The tar-split
// records go to split.
func Digest(dir *os.File, lowers []*os.File, opaque string, attrs Attributes, split io.Writer) (Result, error) {
	out := newStream(tarsplit.NewJSONPacker(split))
	w := &walker{lowers: lowers, opaque: opaque, attrs: attrs, out: out, tw: tar.NewWriter(out), links: map[uint64]string{},
		uids: map[uint32]struct{}{}, gids: map[uint32]struct{}{}}
	root, err := openAt(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err == nil {
		err = w.children(root, "")
		root.Close()
	}
	if err == nil {
		err = w.tw.Close()
	}
	sum, sumErr := out.finish()
	if err := errors.Join(err, sumErr); err != nil {
		return Result{}, err
	}
	return Result{DiffID: sum, Size: out.size, UIDs: slices.Sorted(maps.Keys(w.uids)), GIDs: slices.Sorted(maps.Keys(w.gids))}, nil
}

type walker struct {
	lowers     []*os.File
	opaque     string
	attrs      Attributes
	out        *stream
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
		dirPart, base := path.Split(rel)
		return w.marker(dirPart+whiteoutPrefix+base, &st)
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
		return w.content(dir, name, hdr)
	}
	return w.out.noContent(hdr.Name)
}

// marker writes the empty file that stands for a removal.
func (w *walker) marker(name string, st *unix.Stat_t) error {
	err := w.tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Format: tar.FormatPAX,
		Uid: int(st.Uid), Gid: int(st.Gid), ModTime: mtime(st)})
	return errors.Join(err, w.out.noContent(name))
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
	if w.isOpaque(sub) && w.inLower(rel) {
		if err := w.marker(rel+"/"+whiteoutOpaque, st); err != nil {
			return err
		}
	}
	return w.children(sub, rel)
}

// isOpaque says whether overlay hides the directories below this one. It marks every
// new directory so.
func (w *walker) isOpaque(dir *os.File) bool {
	var value [1]byte
	n, err := unix.Fgetxattr(int(dir.Fd()), w.opaque, value[:])
	return err == nil && n == 1 && value[0] == 'y'
}

// inLower says whether a layer below has something of this name.
func (w *walker) inLower(rel string) bool {
	for _, lower := range w.lowers {
		fd, err := unix.Openat2(int(lower.Fd()), rel, &unix.OpenHow{
			Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
		})
		if err != nil {
			continue
		}
		var st unix.Stat_t
		err = unix.Fstat(fd, &st)
		unix.Close(fd)
		if err == nil {
			return st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != 0
		}
	}
	return false
}

// header makes an entry's header: PAX, times in whole seconds, numeric owners.
func (w *walker) header(dir *os.File, name, rel string, st *unix.Stat_t) (*tar.Header, error) {
	hdr := &tar.Header{
		Name: rel, Format: tar.FormatPAX, Mode: int64(st.Mode & 0o7777),
		Uid: int(st.Uid), Gid: int(st.Gid), ModTime: mtime(st),
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR && st.Nlink > 1 {
		if first, seen := w.links[st.Ino]; seen {
			hdr.Typeflag, hdr.Linkname = tar.TypeLink, first
			return hdr, nil
		}
		w.links[st.Ino] = rel
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		hdr.Typeflag, hdr.Size = tar.TypeReg, st.Size
	case unix.S_IFDIR:
		hdr.Typeflag, hdr.Name = tar.TypeDir, rel+"/"
	case unix.S_IFLNK:
		hdr.Typeflag = tar.TypeSymlink
		var err error
		if hdr.Linkname, err = readlink(dir, name); err != nil {
			return nil, err
		}
		return hdr, nil // links have no attributes that a layer keeps
	case unix.S_IFIFO:
		hdr.Typeflag = tar.TypeFifo
	case unix.S_IFCHR, unix.S_IFBLK:
		hdr.Typeflag = tar.TypeChar
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			hdr.Typeflag = tar.TypeBlock
		}
		hdr.Devmajor, hdr.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	}
	for attr, value := range w.attrs[rel] {
		if hdr.PAXRecords == nil {
			hdr.PAXRecords = map[string]string{}
		}
		hdr.PAXRecords["SCHILY.xattr."+attr] = value
	}
	return hdr, nil
}

func mtime(st *unix.Stat_t) time.Time { return time.Unix(st.Mtim.Sec, 0) }

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

func (w *walker) content(dir *os.File, name string, hdr *tar.Header) error {
	if hdr.Size == 0 {
		return w.out.noContent(hdr.Name)
	}
	f, err := openAt(dir, name, unix.O_RDONLY)
	if err != nil {
		return &os.PathError{Op: "open", Path: hdr.Name, Err: err}
	}
	defer f.Close()
	if err := w.out.file(hdr.Name, hdr.Size, f, w.tw); err != nil {
		return fmt.Errorf("reading %s: %w", hdr.Name, err)
	}
	return nil
}
