package compression

import (
	"io"

	"github.com/klauspost/compress/zstd"
)

// zstdFrame is how much of a tar is one frame of zstd (RFC 8878, section 3: a file is any number of
// frames). A frame knows nothing of those before it, and so each can be compressed by another
// processor. The bytes depend on it.
const zstdFrame = 4 << 20

// usualZstd is the level of the program zstd.
const usualZstd = 3

func newZstd(w io.Writer, level *int) (io.WriteCloser, error) {
	l := usualZstd
	if level != nil && *level > 0 {
		l = *level
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(l)),
		zstd.WithEncoderConcurrency(processors()), zstd.WithZeroFrames(true))
	if err != nil {
		return nil, err
	}
	return newBlocks(w, zstdFrame, frames{enc}), nil
}

// frames makes a frame of each block.
type frames struct{ enc *zstd.Encoder }

func (frames) begin(b *block) bool { return len(b.in) > 0 || b.first }

func (f frames) encode(b *block) { b.out = f.enc.EncodeAll(b.in, b.out) }
