// Package transfer copies images from one place to another: registries, archives, directories and the
// store. All that comes is verified against the digest and the size that its manifest gives before
// anything is made of it. Layers go several at once, each as a stream of which no more than a piece is
// in memory.
package transfer

import (
	"context"
	"errors"
	"fmt"

	digest "github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/image"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/storage"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"

	"github.com/oakum-build/oakum/storage/compression"
	"github.com/oakum-build/oakum/storage/internal/blobs"
)

// A Policy says by an error that an image may not be taken. It is asked for each image, also of an
// index, before anything but the manifest has been read.
type Policy func(ctx context.Context, img types.UnparsedImage) error

// Options are those of one Copy.
type Options struct {
	// Source and Dest are how the ends are reached. Source also has the platform for which an image is
	// chosen of an index.
	Source, Dest *types.SystemContext
	// Index copies an index with all its images, but for those that There, unless it is nil, says the
	// destination has. Otherwise the one for the platform is copied.
	Index bool
	There func(v1.Descriptor) bool
	// Format is FormatOCI or FormatDocker, or "": then manifests stay as they are where the
	// destination takes them so.
	Format string
	// Compression is how layers are compressed that are not yet, where the destination takes them so.
	Compression compression.Choice
	// Blobs remembers which blobs layers are, and where; nil does not.
	Blobs *blobs.Dir
	// Has says of a manifest that the destination has refused whether it is there already by the name
	// that it was to get, for there are names that cannot be given twice. nil knows none.
	Has   func(ctx context.Context, manifest []byte) bool
	Allow Policy
	// Jobs is how many layers are copied at once; 0 is 6.
	Jobs int
	// Again does something until it succeeds or fails for good; nil does it once.
	Again func(ctx context.Context, what string, do func() error) error
	// Progress is told how far blobs have come, by several goroutines at once; it may be nil.
	Progress func(Progress)
}

// The formats of manifests (OCI image specification; Docker image manifest, version 2, schema 2).
const (
	FormatOCI    = "oci"
	FormatDocker = "docker"
)

const defaultJobs = 6

// Between is Copy between two references, which it opens and closes.
func Between(ctx context.Context, to, from types.ImageReference, o Options) (raw []byte, err error) {
	dest, err := to.NewImageDestination(ctx, o.Dest)
	if err != nil {
		return nil, fmt.Errorf("initializing destination %s: %w", transports.ImageName(to), err)
	}
	defer func() { err = errors.Join(err, dest.Close()) }()
	source, err := from.NewImageSource(ctx, o.Source)
	if err != nil {
		return nil, fmt.Errorf("initializing source %s: %w", transports.ImageName(from), err)
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	return Copy(ctx, dest, source, o)
}

// Copy copies an image, or with Options.Index an index and its images, and gives its manifest as it was
// written. The caller closes both ends; until then the copy may not be there.
func Copy(ctx context.Context, to types.ImageDestination, from types.ImageSource, o Options) ([]byte, error) {
	c := &copier{Options: o, to: to, from: from, top: image.UnparsedInstance(from, nil)}
	if c.Again == nil {
		c.Again = func(_ context.Context, _ string, do func() error) error { return do() }
	}
	raw, err := c.all(ctx)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := to.Commit(ctx, c.top); err != nil {
		return nil, fmt.Errorf("committing the finished image: %w", err)
	}
	for _, s := range c.images {
		if to.Reference().Transport().Name() == storage.Transport.Name() {
			s.pulled(ctx)
		}
	}
	return raw, nil
}

// copier is one Copy.
type copier struct {
	Options
	to   types.ImageDestination
	from types.ImageSource
	top  *image.UnparsedImage

	images []*single // that were copied
}

func (c *copier) all(ctx context.Context) ([]byte, error) {
	raw, kind, err := c.top.Manifest(ctx)
	if err != nil {
		return nil, fmt.Errorf("determining manifest MIME type for %s: %w", transports.ImageName(c.from.Reference()), err)
	}
	if !manifest.MIMETypeIsMultiImage(kind) {
		m, err := c.image(ctx, c.top, false)
		return m.raw, err
	}
	if c.Index {
		return c.index(ctx, raw, kind)
	}
	list, err := manifest.ListFromBlob(raw, kind)
	if err != nil {
		return nil, fmt.Errorf("parsing the index of %s: %w", transports.ImageName(c.from.Reference()), err)
	}
	instance, err := list.ChooseInstance(c.Source)
	if err != nil {
		return nil, fmt.Errorf("choosing an image from manifest list %s: %w", transports.ImageName(c.from.Reference()), err)
	}
	m, err := c.image(ctx, image.UnparsedInstance(c.from, &instance), false)
	return m.raw, err
}

// put writes a manifest.
func (c *copier) put(ctx context.Context, what string, raw []byte, instance *digest.Digest) error {
	return c.Again(ctx, what, func() error {
		err := c.to.PutManifest(ctx, raw, instance)
		if err != nil && instance == nil && ctx.Err() == nil && c.Has != nil && c.Has(ctx, raw) {
			return nil
		}
		return err
	})
}

// written is a manifest as the destination has it.
type written struct {
	raw  []byte
	kind string
}

// image copies one image. instance says that it is one of an index that is copied.
func (c *copier) image(ctx context.Context, of *image.UnparsedImage, instance bool) (written, error) {
	raw, kind, err := of.Manifest(ctx)
	if err != nil {
		return written{}, err
	}
	if manifest.MIMETypeIsMultiImage(kind) {
		return written{}, errors.New("the index has another index where it should have an image")
	}
	if err := c.Allow(ctx, of); err != nil {
		return written{}, fmt.Errorf("%s is rejected: %w", transports.ImageName(of.Reference()), err)
	}
	parsed, err := image.FromUnparsedImage(ctx, c.Source, of)
	if err != nil {
		return written{}, fmt.Errorf("initializing image from source %s: %w", transports.ImageName(c.from.Reference()), err)
	}
	s := &single{copier: c, img: parsed, source: written{raw, kind}, instance: instance}
	c.images = append(c.images, s)
	return s.copy(ctx)
}

// signaturesOf reads an image's signatures, and fails when they would be lost.
func (c *copier) signaturesOf(ctx context.Context, img types.UnparsedImage) ([][]byte, error) {
	signatures, err := img.Signatures(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading signatures: %w", err)
	}
	if len(signatures) > 0 {
		if err := c.to.SupportsSignatures(ctx); err != nil {
			return nil, fmt.Errorf("signatures cannot be copied to %s: %w", transports.ImageName(c.to.Reference()), err)
		}
	}
	return signatures, nil
}

var errDigest = errors.New("the destination is named by the digest of another manifest")

// pinned is the digest that the destination is named by, or "".
func (c *copier) pinned() digest.Digest {
	if named, ok := c.to.Reference().DockerReference().(reference.Digested); ok {
		return named.Digest()
	}
	return ""
}
