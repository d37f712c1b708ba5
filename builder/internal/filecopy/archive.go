//go:build linux

package filecopy

import (
	"archive/tar"
	"bufio"
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
