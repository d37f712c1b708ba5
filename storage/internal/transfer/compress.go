package transfer

import (
	"io"
	"maps"

	libcompression "go.podman.io/image/v5/pkg/compression"
	"go.podman.io/image/v5/types"

	"github.com/oakum-build/oakum/storage/compression"
)

// compressing is a stream that is compressed while it is read.
type compressing struct {
	*io.PipeReader
	done chan struct{} // closed when the following is known
	made map[string]string
}

// copyBlock is how much of a stream is passed on at once.
const copyBlock = 256 << 10

// compress gives a stream compressed. What fails in reading it fails in reading the result.
func compress(from io.Reader, choice compression.Choice) *compressing {
	r, w := io.Pipe()
	c := &compressing{PipeReader: r, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		z, err := choice.NewWriter(w)
		if err == nil {
			if _, err = io.CopyBuffer(z, from, make([]byte, copyBlock)); err != nil {
				_ = z.Close() // which ends what it has started
			} else if err = z.Close(); err == nil {
				c.made = z.Annotations()
			}
		}
		_ = w.CloseWithError(err)
	}()
	return c
}

// Close ends the compression, and returns when nothing is read any more.
func (c *compressing) Close() error {
	err := c.PipeReader.Close()
	<-c.done
	return err
}

// annotations are those that the compressed layer needs; it must have been read to its end.
func (c *compressing) annotations() map[string]string {
	<-c.done
	return c.made
}

// annotate adds them to those of a layer.
func (c *compressing) annotate(annotations map[string]string) map[string]string {
	made := c.annotations()
	if len(made) == 0 {
		return annotations
	}
	all := maps.Clone(annotations)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, made)
	return all
}

// decompressed gives a layer's tar.
func decompressed(from io.Reader, has types.BlobInfo) (io.ReadCloser, error) {
	if compressionOf(has.MediaType) == compression.Uncompressed {
		return io.NopCloser(from), nil
	}
	plain, _, err := libcompression.AutoDecompress(from)
	return plain, err
}
