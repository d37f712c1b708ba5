//go:build linux

package filecopy

import (
	"archive/tar"
	"bufio"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"
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
	r, err := decompressor(archive.DetectCompression(magic), br)
	if err != nil {
		return false, nil
	}
	defer r.Close()
	_, err = tar.NewReader(r).Next()
	return err == nil, nil
}

// Decompress gives what is in a stream that is plain or compressed by gzip, bzip2, xz or
// zstd, by its content, in bounded memory. No other program is started for it.
func Decompress(r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, 1<<20)
	magic, err := br.Peek(10)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return decompressor(archive.DetectCompression(magic), br)
}

// maxWindow is how far back a zstd stream may refer; zstd(1) takes 128 MiB unless it is asked for
// more.
const maxWindow = 256 << 20

func decompressor(c archive.Compression, r io.Reader) (io.ReadCloser, error) {
	switch c {
	case archive.Uncompressed:
		return io.NopCloser(r), nil
	case archive.Gzip:
		return gzip.NewReader(r)
	case archive.Bzip2:
		return io.NopCloser(bzip2.NewReader(r)), nil
	case archive.Xz:
		x, err := xz.NewReader(r)
		if err != nil {
			return nil, err
		}
		return io.NopCloser(x), nil
	case archive.Zstd:
		z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return nil, fmt.Errorf("compressed in a way that is not known: %s", c.Extension())
}
