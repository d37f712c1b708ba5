//go:build linux

// Package extract puts the files of tar streams into directories: layers on top of what is
// there already, and the archives that ADD unpacks. No process is started and no root changed
// for it, so that it works where a process may do nothing.
//
// Streams are hostile. Every name is walked from the open root by descriptor, and a link in it is
// either not followed at all or looked up as if root were /: whatever a stream says, nothing
// outside of root is made, changed, removed, or read. What a stream has made before an error stays
// for the caller to throw away. While a stream is extracted nobody else may
// change what is in root.
package extract

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/builder/internal/owners"
	"github.com/oakum-build/oakum/builder/limits"
	"github.com/oakum-build/oakum/storage/tarfilter"
)

// Options say how a stream is extracted. The zero value suits a process that may give files any
// owner.
type Options struct {
	// Owners remembers what this process may not make of files. When it is nil, all that a stream
	// says must be possible; only attributes are left out that the file system does not take.
	Owners *owners.Owners
	// Owner is that of all files, nil for those that the stream names.
	Owner *filecopy.IDs
	// MaxBytes bounds the content of all files together, holes included, and MaxFiles their number, with all
	// else that has a name. More is a *limits.LimitError. Zero is no bound.
	MaxBytes, MaxFiles int64
}

// Layer puts a layer, a plain tar stream, on top of the tree of those below it, as said in the OCI image
// specification, "Applying Changesets". A whiteout removes what is below the layer and
// nothing of the layer itself, wherever in the stream it is. A layer is looked at alone, as by those who mount it: links of
// the layer are followed inside of root when a name leads through them, and where one leads
// through a link of a layer below, a directory takes the place of that. What a tarfilter.Layer
// leaves out is left out. An error that is the layer's fault matches limits.ErrInvalid.
func Layer(ctx context.Context, root *os.File, in io.Reader, o Options) error {
	x := newExtraction(root, o)
	x.alone = true
	judge := &tarfilter.Layer{Devices: o.Owners != nil || tarfilter.MayMakeDevices()}
	return x.stream(ctx, in, judge.Judge)
}

// Archive unpacks a foreign archive, plain or compressed, into root. It completes judge, which says what is
// extracted, and how much room there is if not as much as the file system has. Links that are in root, or that the archive makes, are followed inside of root when
// a name leads through them. An entry for root itself does not change it, as in BuildKit. An error
// that is the archive's fault matches limits.ErrInvalid, or tarfilter.ErrUnfit when it is the judge's.
func Archive(ctx context.Context, root *os.File, in io.Reader, judge *tarfilter.Archive, o Options) error {
	judge.Devices = o.Owners != nil || tarfilter.MayMakeDevices()
	if judge.Free == nil {
		judge.Free = func() uint64 { return freeBytes(root) }
	}
	plain, err := filecopy.Decompress(filecopy.Reader(ctx, in))
	if err != nil {
		return blame(err)
	}
	defer plain.Close()
	err = newExtraction(root, o).stream(ctx, plain, judge.Judge)
	if err == nil {
		err = blame(drain(plain))
	}
	if err != nil && judge.Loose() != "" && errors.Is(err, limits.ErrInvalid) {
		return fmt.Errorf("%w (%s)", err, judge.Loose())
	}
	return err
}

// Files unpacks a plain tar of our own making, which has an entry for each directory, into an
// empty root.
func Files(ctx context.Context, root *os.File, in io.Reader, o Options) error {
	keep := func(*tar.Header) (tarfilter.Verdict, error) { return tarfilter.Keep, nil }
	if err := newExtraction(root, o).stream(ctx, in, keep); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, in)
	return err
}

// drain reads what follows the end of an archive, with the checksums of its compression. Something that was not compressed is
// passed over, as by gzip(1).
func drain(in io.Reader) error {
	if _, err := io.Copy(io.Discard, in); !errors.Is(err, gzip.ErrHeader) {
		return err
	}
	return nil
}

// freeBytes is how much room a file system has for this process.
func freeBytes(dir *os.File) uint64 {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &st); err != nil {
		return 0
	}
	return st.Bavail * uint64(st.Bsize)
}

// extraction is one stream that is being extracted.
type extraction struct {
	Options
	root *os.File
	// alone says that the stream is a layer: files that it has not made count as not there.
	alone bool

	bytes, files int64

	// made are hashes of the paths that the stream itself has filled. Paths as such would be most of
	// the memory that a layer takes.
	made map[uint64]struct{}
	seed maphash.Seed

	last  *place // the directory of the last entry
	name  string // by which it was asked for
	block []byte

	dirs          map[string]*directory // by their paths, for finishAll
	entries, kept int                   // how many were for directories, and what dirs has of attributes
}

func newExtraction(root *os.File, o Options) *extraction {
	return &extraction{Options: o, root: root, made: map[uint64]struct{}{}, dirs: map[string]*directory{}, seed: maphash.MakeSeed(), block: make([]byte, 256<<10)}
}

// stream extracts all that the judge takes of a stream.
func (x *extraction) stream(ctx context.Context, in io.Reader, judge tarfilter.Judge) error {
	defer x.forget()
	// Headers and small files come many at a time; what is large is read past the buffer.
	r := tar.NewReader(bufio.NewReaderSize(filecopy.Reader(ctx, in), len(x.block)))
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return blame(err)
		}
		verdict, err := judge(h)
		if err == nil && verdict != tarfilter.Drop {
			err = x.entry(h, r)
		}
		if err != nil {
			return blame(err)
		}
	}
	return blame(x.finishAll())
}

// blame says of an error that the stream is at fault, unless the machine or the caller is.
func blame(err error) error {
	if err == nil {
		return nil
	}
	for _, other := range []error{unix.ENOSPC, unix.EDQUOT, unix.EIO, unix.EROFS, unix.ENOMEM, unix.EMFILE, unix.ENFILE, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, other) {
			return fmt.Errorf("unpacking: %w", err)
		}
	}
	if errors.Is(err, tarfilter.ErrUnfit) || limits.IsLimit(err) {
		return err
	}
	return fmt.Errorf("%w: unpacking: %w", limits.ErrInvalid, err)
}

// count bounds what the stream makes.
func (x *extraction) count(h *tar.Header) error {
	x.files++
	if x.MaxFiles > 0 && x.files > x.MaxFiles {
		return &limits.LimitError{What: "the number of files in the archive", Limit: x.MaxFiles, Unit: "files"}
	}
	if isRegular(h) {
		if h.Size > x.MaxBytes-x.bytes && x.MaxBytes > 0 {
			return &limits.LimitError{What: "the content of the files in the archive", Limit: x.MaxBytes, Unit: "bytes"}
		}
		x.bytes += h.Size
	}
	return nil
}

// isRegular says whether an entry is of a file with content. Two types differ from the usual one in the
// archive alone.
func isRegular(h *tar.Header) bool {
	return h.Typeflag == tar.TypeReg || h.Typeflag == tar.TypeGNUSparse || h.Typeflag == tar.TypeCont
}

// maxPath is PATH_MAX without its zero: nobody opens a longer one.
const maxPath = 4095

// within gives a name of the stream as a path inside of root without "." and "..", "" for root itself. As
// from /, nothing is above it.
func within(entry, name string) (string, error) {
	clean := path.Clean("/" + name)[1:]
	if len(clean) > maxPath {
		return "", &tarfilter.EntryError{Name: entry[:min(len(entry), 64)] + "...", Why: fmt.Sprintf("has a path of more than %d bytes, which nobody can open", maxPath)}
	}
	return clean, nil
}

// entry makes what a header says.
func (x *extraction) entry(h *tar.Header, content io.Reader) error {
	if err := x.count(h); err != nil {
		return err
	}
	name, err := within(h.Name, h.Name)
	if err != nil {
		return err
	}
	if name == "" {
		return &tarfilter.EntryError{Name: h.Name, Why: "stands for the root, and is no directory"}
	}
	dir, base := path.Split(name)
	dir = strings.TrimSuffix(dir, "/")
	if x.alone {
		if done, err := x.whiteout(h, dir, base); done || err != nil {
			return err
		}
	}
	at, err := x.parent(h.Name, dir)
	if err != nil {
		return err
	}
	x.make(at.join(base))
	return x.file(at, base, h, content)
}
