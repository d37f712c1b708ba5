package transfer

import (
	"io"
	"time"

	digest "github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/types"
)

// Progress is how far a blob has come.
type Progress struct {
	Digest digest.Digest // as the source has it
	Offset int64         // bytes of the source so far
	Size   int64         // of all of it, or -1
}

// often is the time between two reports of a blob.
const often = 100 * time.Millisecond

// observed tells Progress of a blob as it is read.
func (c *copier) observed(from io.Reader, info types.BlobInfo) io.Reader {
	return Observe(from, info, c.Progress)
}

type observer struct {
	from io.Reader
	tell func(Progress)
	at   Progress
	told time.Time
	last int64 // that was told
}

func (o *observer) Read(p []byte) (int, error) {
	n, err := o.from.Read(p)
	o.at.Offset += int64(n)
	if now := time.Now(); n > 0 && now.Sub(o.told) >= often || err != nil && o.last != o.at.Offset {
		o.told, o.last = now, o.at.Offset
		o.tell(o.at)
	}
	return n, err
}
