//go:build linux

package filecopy

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"go.podman.io/storage/pkg/archive"
)

// IsTar says whether a file is a tar archive, plain or compressed by gzip, bzip2, xz or
// zstd, by its content, and leaves it at its start.
func IsTar(f *os.File) (bool, error) {
	defer func() { _, _ = f.Seek(0, io.SeekStart) }()
	br := bufio.NewReader(f)
	magic, err := br.Peek(10)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("reading %s: %w", f.Name(), err)
	}
	r, done := decompressor(archive.DetectCompression(magic), br)
	if r == nil {
		return false, nil
	}
	defer done()
	_, err = tar.NewReader(r).Next()
	return err == nil, nil
}

// decompressor only has to reach the first header, so it runs in this process.
func decompressor(c archive.Compression, r io.Reader) (io.Reader, func()) {
	nothing := func() {}
	var out io.Reader
	var err error
	switch c {
	case archive.Uncompressed:
		return r, nothing
	case archive.Gzip:
		out, err = gzip.NewReader(r)
	case archive.Bzip2:
		out = bzip2.NewReader(r)
	case archive.Xz:
		out, err = xz.ReaderConfig{SingleStream: true}.NewReader(r)
	case archive.Zstd:
		var z *zstd.Decoder
		z, err = zstd.NewReader(r, zstd.WithDecoderMaxMemory(256<<20), zstd.WithDecoderConcurrency(1))
		if err == nil {
			return z, z.Close
		}
	default:
		return nil, nothing
	}
	if err != nil {
		return nil, nothing
	}
	return out, nothing
}

// WithoutRoot gives a plain tar stream without the entries that would put something else
// than a directory in the place of its root, which Docker's and Buildah's readers pass over
// and that of containers/storage refuses. It must be closed, and does not read from r
// after that.
func WithoutRoot(r io.Reader) io.ReadCloser {
	out, w := io.Pipe()
	e := &entries{PipeReader: out, done: make(chan struct{})}
	go func() {
		defer close(e.done)
		_ = w.CloseWithError(copyEntries(w, r))
	}()
	return e
}

// entries is the stream of WithoutRoot.
type entries struct {
	*io.PipeReader
	done chan struct{}
}

func (e *entries) Close() error {
	err := e.PipeReader.Close()
	<-e.done
	return err
}

// copyEntries copies an archive byte for byte. What cannot be read is left to the reader
// of w to complain of.
func copyEntries(w io.Writer, r io.Reader) error {
	in := &tap{r: r}
	tr := tar.NewReader(in)
	for to := w; ; {
		// What comes before a header, which has whole blocks, ends the entry before.
		var header bytes.Buffer
		in.w = &header
		h, err := tr.Next()
		if _, err := to.Write(header.Next(header.Len() % 512)); err != nil {
			return err
		}
		if err != nil {
			in.w = w
			if _, err = w.Write(header.Bytes()); err == nil {
				_, err = io.Copy(io.Discard, in) // not r, which may have a WriteTo that cannot start here
			}
			return err
		}
		to = w
		if h.Typeflag != tar.TypeDir && h.Typeflag != tar.TypeXGlobalHeader && inside(h.Name) == "" {
			to = io.Discard
		}
		if _, err := to.Write(header.Bytes()); err != nil {
			return err
		}
		in.w = to
		if _, err := io.Copy(io.Discard, tr); err != nil {
			return err
		}
	}
}

// tap writes what is read through it to w.
type tap struct {
	r io.Reader
	w io.Writer
}

func (t *tap) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if _, werr := t.w.Write(p[:n]); werr != nil {
		return n, werr
	}
	return n, err
}
