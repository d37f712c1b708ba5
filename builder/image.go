package builder

import (
	"context"
	"errors"

	digest "github.com/opencontainers/go-digest"
)

// ImageDetail is all that the store knows of an image.
type ImageDetail struct {
	Image
	Author       string
	Architecture string
	Variant      string
	OS           string
	MediaType    string // of the manifest
	Config       Config
	Layers       []digest.Digest // diff IDs, base first
	LayerSizes   []int64         // uncompressed bytes, one for each layer
	History      []History
}

// Images lists the images of the store, newest first.
func (b *Builder) Images(ctx context.Context) ([]Image, error) {
	return nil, errors.New("unimplemented")
}

// Inspect finds an image by name, short name, id, id prefix or name@digest.
func (b *Builder) Inspect(ctx context.Context, ref string) (ImageDetail, error) {
	return ImageDetail{}, errors.New("unimplemented")
}

// Tag adds names to an image.
func (b *Builder) Tag(ctx context.Context, ref string, names ...string) error {
	return errors.New("unimplemented")
}

// RemoveOptions is how Remove goes about it. The zero value refuses to remove an
// image id with several names, or one that a container uses.
type RemoveOptions struct {
	Force bool // remove all names, and containers' use notwithstanding
}

// Removed is what Remove did.
type Removed struct {
	Untagged []string
	Deleted  []string // image ids
}

// Remove removes a name, and the image when it was its last.
func (b *Builder) Remove(ctx context.Context, ref string, opts RemoveOptions) (Removed, error) {
	return Removed{}, errors.New("unimplemented")
}

// Pull fetches an image into the store. ref is a name, or a reference with a
// transport (docker://, oci:, oci-archive:, docker-archive:, dir:).
func (b *Builder) Pull(ctx context.Context, ref string, reg Registry) (Image, error) {
	return Image{}, errors.New("unimplemented")
}

// PushOptions is how Push sends an image.
type PushOptions struct {
	Registry Registry
	// Format converts the manifest: "oci", "docker" or "" to keep it.
	Format string
}

// Push sends an image of the store to dest: a registry reference, or a reference
// with a transport (docker://, oci:, oci-archive:, docker-archive:, dir:). "" is the
// image's own name. It returns the digest of the manifest as sent.
func (b *Builder) Push(ctx context.Context, ref, dest string, opts PushOptions) (digest.Digest, error) {
	return "", errors.New("unimplemented")
}
