package transfer

import (
	"context"

	digest "github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/types"

	"github.com/oakum-build/oakum/storage/internal/blobs"
)

// Find looks at a destination for a layer of which the source has the tar, as Copy with these options does
// before it sends one. So a layer can be sent before there is an image of it, by Find and else Note.
func Find(ctx context.Context, to types.ImageDestination, diffID digest.Digest, size int64, o Options) (bool, error) {
	layer := types.BlobInfo{Digest: diffID, Size: size, MediaType: v1.MediaTypeImageLayer}
	_, found, err := (&single{copier: &copier{Options: o, to: to}}).find(ctx, layer, layer)
	return found, err
}

// Note notes that a layer was sent to a destination as a blob, compressed as the options say. Copy finds
// it there.
func Note(to types.ImageDestination, diffID digest.Digest, blob types.BlobInfo, o Options) {
	s := &single{copier: &copier{Options: o, to: to}}
	as := s.compressedAs(types.BlobInfo{MediaType: v1.MediaTypeImageLayer})
	s.remember(diffID, candidate{info: blob, blob: blobs.Blob{Algorithm: as, Level: s.level(as), Own: true, Annotations: blob.Annotations}})
}
