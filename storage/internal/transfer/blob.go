package transfer

import (
	"context"
	"fmt"
	"io"

	"go.podman.io/image/v5/pkg/blobinfocache/memory"
	"go.podman.io/image/v5/types"
)

// ReadBlob has read take a blob of a source. What it takes is only known to be the blob, by its digest and
// its size, once ReadBlob has returned without an error; what read leaves is read to the end for that. tell
// is told how far it has come, unless it is nil.
func ReadBlob(ctx context.Context, from types.ImageSource, blob types.BlobInfo, tell func(Progress), read func(io.Reader) error) error {
	if err := blob.Digest.Validate(); err != nil { // it becomes a path, or a part of an address
		return fmt.Errorf("reading blob %.100q: %w", blob.Digest, err)
	}
	body, _, err := from.GetBlob(ctx, blob, memory.New())
	if err != nil {
		return fmt.Errorf("reading blob %s: %w", blob.Digest, err)
	}
	defer body.Close()
	checked, err := newVerifier(ctx, body, blob.Digest, blob.Size)
	if err != nil {
		return fmt.Errorf("reading blob %s: %w", blob.Digest, err)
	}
	failed := read(Observe(checked, blob, tell))
	if failed == nil {
		_, failed = io.Copy(io.Discard, checked)
	}
	if checked.err != nil { // whatever read made of it
		return fmt.Errorf("reading blob %s: %w", blob.Digest, checked.err)
	}
	return failed
}

// Observe tells of a blob as it is read, some ten times a second. tell may be nil.
func Observe(from io.Reader, blob types.BlobInfo, tell func(Progress)) io.Reader {
	if tell == nil {
		return from
	}
	return &observer{from: from, tell: tell, at: Progress{Digest: blob.Digest, Size: blob.Size}}
}
