package builder

import (
	"context"
	"errors"
	"fmt"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/builder/internal/protocol"
	"github.com/oakum-build/oakum/builder/internal/protocol/outgoing"
	"github.com/oakum-build/oakum/builder/push"
	"github.com/oakum-build/oakum/storage"
)

// PushOptions is how Push sends an image.
type PushOptions struct {
	Registry Registry // the zero value is the Builder's
	// Format converts the manifest: "oci", "docker" or "" to keep it. With layers compressed by zstd "" is
	// "oci".
	Format string
	// Compression is that of the layers, where the destination has them compressed.
	Compression push.Compression
	// IndexOnly sends an index without its images, which must be where it goes, with the digests that it has.
	IndexOnly bool
	// ByDigest gives the image no tag in a registry, so that it is known by its digest alone.
	ByDigest bool
}

// options are what of the options is the store's matter.
func (o PushOptions) options() (storage.PushOptions, error) {
	if err := checkFormat(o.Format); err != nil {
		return storage.PushOptions{}, err
	}
	if err := o.Compression.CheckFor(o.Format == "docker"); err != nil {
		return storage.PushOptions{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return storage.PushOptions{Format: o.Format, Compression: o.Compression, IndexOnly: o.IndexOnly, ByDigest: o.ByDigest}, nil
}

// Push sends an image of the store to dest: a registry reference, or a reference
// with a transport (docker://, oci:, oci-archive:, docker-archive:, dir:). "" is the
// image's own name. It returns the manifest as sent, whose layers are compressed, so that
// its digest is not that of the image in the store.
func (b *Builder) Push(ctx context.Context, ref, dest string, opts PushOptions) (imgspec.Descriptor, error) {
	o, err := opts.options()
	if err != nil {
		return imgspec.Descriptor{}, err
	}
	return call(ctx, b, protocol.Push{Ref: ref, Dest: dest, Options: o, Access: opts.Registry.or(b.opts.Registry).access()})
}

// NewPush begins a Push to names in registries, the manifest's format and the layers' compression being
// those of opts. It asks the registries whether they may be pushed to, before anything is built,
// by sending each of them a blob of two bytes, and fails as Push does where that is refused.
func (b *Builder) NewPush(ctx context.Context, names []string, opts PushOptions) (*push.Push, error) {
	o, err := opts.options()
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%w: a push needs a name to push to", ErrInvalid)
	}
	id := b.newSerial()
	access := opts.Registry.or(b.opts.Registry).access()
	if _, err := call(ctx, b, outgoing.NewPush{Push: id, Dests: names, Options: o, Access: access}); err != nil {
		return nil, err
	}
	finish := func(ctx context.Context, ref string) ([]imgspec.Descriptor, error) {
		return call(ctx, b, outgoing.FinishPush{Push: id, Ref: ref, Access: access})
	}
	return push.New(id, finish, func() error {
		_, err := call(context.Background(), b, outgoing.ClosePush{Push: id})
		if errors.Is(err, ErrClosed) {
			return nil
		}
		return err
	}), nil
}
