// Package push is how images are sent to registries while they are being built.
package push

import (
	"context"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/storage/compression"
)

// Compression is how layers are compressed when they leave the store: by "gzip", "zstd", "zstd:chunked" or,
// "uncompressed", not at all. The zero value is gzip.
type Compression = compression.Choice

// Push sends an image to registries while it is being built: stages that are opened with it
// (builder.StageOptions.Push) have each layer compressed, once, and sent as soon as it is there. When all
// is built, Finish sends what is left and the manifest. It must be closed. A Push that is closed without
// having been finished leaves layers in the registries, and no image.
//
// Builder.NewPush makes it. It is safe for many goroutines.
type Push struct {
	id     string
	finish func(ctx context.Context, ref string) ([]imgspec.Descriptor, error)
	end    func() error
}

// New is for package builder: a Push with an id, and what Finish and Close do.
func New(id string, finish func(ctx context.Context, ref string) ([]imgspec.Descriptor, error), end func() error) *Push {
	return &Push{id, finish, end}
}

// ID is what the Push is called in the Builder.
func (p *Push) ID() string { return p.id }

// Finish sends what has not been sent of an image of the store, or of an index and its images, and gives
// the manifests in the order of the names. It fails as Builder.Push does, also with what failed before;
// then it may be called again.
func (p *Push) Finish(ctx context.Context, ref string) ([]imgspec.Descriptor, error) {
	return p.finish(ctx, ref)
}

// Close ends the Push. It is idempotent, and does nothing to nil.
func (p *Push) Close() error {
	if p == nil {
		return nil
	}
	return p.end()
}
