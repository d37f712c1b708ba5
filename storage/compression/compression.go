// Package compression packs layers for their way to a registry or into an archive.
//
// Layers lie in the store as files, and leave it as tars. How these are compressed is a Choice. The
// bytes that come of a tar depend on the Choice alone, not on the machine, its load or the number of
// its processors, so that what was sent before is known again by its digest.
package compression

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"go.podman.io/image/v5/pkg/compression"
)

// The algorithms.
const (
	Gzip         = "gzip"
	Zstd         = "zstd"
	ZstdChunked  = "zstd:chunked" // zstd with a table of its files, of which a reader fetches what it lacks
	Uncompressed = "uncompressed"
)

// Choice is how layers are compressed. The zero value is gzip, which every registry and every reader
// knows, for layers that are not compressed yet.
type Choice struct {
	// Algorithm is one of the constants, or "".
	Algorithm string
	// Level is 0 to 9 for gzip and 0 to 22 for zstd and zstd:chunked; higher is smaller and slower. nil
	// is the usual one. 0 is stored, not compressed, in gzip, and the usual one in zstd.
	Level *int
	// Force sends no layer that was compressed otherwise, though the other side may have it: where
	// layers come from, as those of a base image. Without it these stay as they are.
	Force bool
}

// levels are the highest levels of the algorithms that have any.
var levels = map[string]int{Gzip: 9, Zstd: 22, ZstdChunked: 22}

// Check gives the error of a Choice that nothing can be compressed by.
func (c Choice) Check() error {
	highest, compresses := levels[c.algorithm()]
	switch {
	case c.algorithm() == "estargz":
		return fmt.Errorf("compression %q is not supported; %s also lets a reader fetch single files", c.Algorithm, ZstdChunked)
	case !compresses && c.algorithm() != Uncompressed:
		return fmt.Errorf("unknown compression %q: it is %s or %s", c.Algorithm, strings.Join(slices.Sorted(maps.Keys(levels)), ", "), Uncompressed)
	case c.Level != nil && !compresses:
		return fmt.Errorf("compression level %d: layers that are %s have none", *c.Level, Uncompressed)
	case c.Level != nil && (*c.Level < 0 || *c.Level > highest):
		return fmt.Errorf("compression level %d: that of %s is 0 to %d", *c.Level, c.algorithm(), highest)
	}
	return nil
}

// CheckFor is Check, with the format of the image's manifest: Docker's has no layers of zstd.
func (c Choice) CheckFor(docker bool) error {
	if docker && c.Zstd() {
		return fmt.Errorf("the format docker has no layers compressed by %s: use the format oci, or gzip", c.Algorithm)
	}
	return c.Check()
}

// Zstd says whether what is compressed is read as zstd.
func (c Choice) Zstd() bool { return c.Algorithm == Zstd || c.Algorithm == ZstdChunked }

func (c Choice) algorithm() string {
	if c.Algorithm == "" {
		return Gzip
	}
	return c.Algorithm
}

// NewWriter gives a Writer that compresses a tar into w, on all processors but for zstd:chunked. It
// fails as Check does. The Writer must be closed, also after an error.
func (c Choice) NewWriter(w io.Writer) (*Writer, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	out := &Writer{annotations: map[string]string{}}
	var err error
	switch c.algorithm() {
	case Gzip:
		out.WriteCloser, err = newGzip(w, c.Level)
	case Zstd:
		out.WriteCloser, err = newZstd(w, c.Level)
	case ZstdChunked:
		out.WriteCloser, err = compression.CompressStreamWithMetadata(w, out.annotations, compression.ZstdChunked, c.Level)
	case Uncompressed:
		out.WriteCloser = plain{w}
	}
	if err != nil {
		return nil, fmt.Errorf("compressing by %s: %w", c.algorithm(), err)
	}
	return out, nil
}

// Writer compresses a tar. One goroutine may write to it.
type Writer struct {
	io.WriteCloser
	annotations map[string]string
}

// Annotations are what the descriptor of the layer must have, after Close: where in a layer of
// zstd:chunked its table of files is, and its digest. Other layers have none.
func (w *Writer) Annotations() map[string]string { return w.annotations }

// plain leaves the tar as it is.
type plain struct{ io.Writer }

func (plain) Close() error { return nil }
