package builder

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/builder/internal/protocol"
	"github.com/oakum-build/oakum/builder/internal/protocol/upkeep"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/registry"
	"github.com/oakum-build/oakum/storage/usage"
)

// Image is an image in the store.
type Image struct {
	ID      string        // hex, without algorithm
	Digest  digest.Digest // of its manifest
	Names   []string
	Created time.Time
	Size    int64 // bytes, uncompressed, with its base
	// Index are the manifests of the images of an index, which is not made for a platform itself, in
	// its order; nil of an image.
	Index []imgspec.Descriptor
	// Within are the ids of the indexes that have the image. Images alone tells it.
	Within []string
}

func image(r storage.Image) Image {
	img := Image{ID: r.ID, Digest: r.Digest, Names: r.Names, Created: r.Created, Size: r.Size, Within: r.Within}
	if r.Index != nil {
		img.Index = []imgspec.Descriptor{}
	}
	for _, m := range r.Index {
		img.Index = append(img.Index, m.Descriptor)
	}
	return img
}

// ImageDetail is all that the store knows of an image.
type ImageDetail struct {
	Image
	Author       string
	Architecture string
	Variant      string
	OS           string
	Manifest     imgspec.Descriptor // its media type, digest and size
	Config       Config
	Layers       []digest.Digest // diff IDs, base first
	LayerSizes   []int64         // uncompressed bytes, one for each layer
	History      []imgspec.History
	Annotations  map[string]string // of the manifest, also that of an index
}

func (r Registry) access() registry.Access {
	return registry.Access{AuthFile: r.AuthFile, Username: r.Username, Password: r.Password, Host: r.Host, CertDir: r.CertDir,
		TLSVerify: r.TLSVerify, SignaturePolicy: r.SignaturePolicy}
}

// check is for a Registry that is not one call's.
func (r Registry) check() error {
	if r.Username != "" && r.Host == "" {
		return fmt.Errorf("%w: Registry.Username is for one registry, which Registry.Host must name", ErrInvalid)
	}
	return nil
}

// or gives the call's registry options, or else the Builder's.
func (r Registry) or(fallback Registry) Registry {
	if r == (Registry{}) {
		return fallback
	}
	return r
}

// Images lists the images of the store, newest first.
func (b *Builder) Images(ctx context.Context) ([]Image, error) {
	records, err := call(ctx, b, protocol.Images{})
	if err != nil {
		return nil, err
	}
	images := make([]Image, len(records))
	for i, r := range records {
		images[i] = image(r)
	}
	return images, nil
}

// Inspect finds an image by name, short name, id, id prefix or name@digest. Of an index nothing is
// known but what an Image tells, and the manifest.
func (b *Builder) Inspect(ctx context.Context, ref string) (ImageDetail, error) {
	return b.inspect(ctx, protocol.Inspect{Ref: ref})
}

// InspectFor is Inspect, but of an index it gives the image for a platform, OS/ARCH[/VARIANT] or
// "local"; "" is this machine's. Where there is none it fails with an error that matches
// ErrImageNotFound.
func (b *Builder) InspectFor(ctx context.Context, ref, platform string) (ImageDetail, error) {
	p, err := readPlatform(platform)
	if err != nil {
		return ImageDetail{}, err
	}
	return b.inspect(ctx, protocol.Inspect{Ref: ref, Choose: true, Platform: p})
}

func (b *Builder) inspect(ctx context.Context, ask protocol.Inspect) (ImageDetail, error) {
	d, err := call(ctx, b, ask)
	if err != nil {
		return ImageDetail{}, err
	}
	if d.Index != nil {
		return ImageDetail{Image: image(d.Image), Manifest: d.Manifest, Annotations: d.Annotations}, nil
	}
	var c struct {
		baseImage
		History []imgspec.History `json:"history"`
	}
	if err := json.Unmarshal(d.Config, &c); err != nil {
		return ImageDetail{}, fmt.Errorf("image configuration of %s: %w", ask.Ref, err)
	}
	return ImageDetail{
		Image: image(d.Image), Author: c.Author, Architecture: c.Architecture, Variant: c.Variant, OS: c.OS,
		Manifest: d.Manifest, Config: c.Config, Layers: d.Layers, LayerSizes: d.LayerSizes, History: c.History, Annotations: d.Annotations,
	}, nil
}

// Tag adds names to an image.
func (b *Builder) Tag(ctx context.Context, ref string, names ...string) error {
	_, err := call(ctx, b, protocol.Tag{Ref: ref, Names: names})
	return err
}

// RemoveOptions is how Remove goes about it. The zero value refuses to remove an
// image id with several names.
type RemoveOptions struct {
	Force bool // remove all names
	// Unnamed removes the image only if it has no name, also none by now.
	Unnamed bool
}

// Remove removes a name, and the image when it was its last. It fails with an error that
// matches ErrInUse, with Force too, where the image or a layer of it is used by a container,
// whether Podman's or Buildah's, or by a stage of this Builder or of another one.
func (b *Builder) Remove(ctx context.Context, ref string, opts RemoveOptions) (storage.Removed, error) {
	return call(ctx, b, protocol.Remove{Ref: ref, Force: opts.Force, Unnamed: opts.Unnamed})
}

// Prune empties the layer cache, or removes of it what opts say: layers of build steps that no image and
// no container uses, caches of commands, and what is remembered. Stages of this Builder and of others may
// be built meanwhile: what they use stays, and what they look for just then they find or make. What the cache knows of a
// removed layer stays while an image has what was copied from it, unless opts.All says otherwise: see Remembers. It fails
// with an error that matches ErrInvalid for options that cannot be meant.
func (b *Builder) Prune(ctx context.Context, opts usage.Options) (storage.Pruned, error) {
	if err := opts.Check(); err != nil {
		return storage.Pruned{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return call(ctx, b, upkeep.Prune{Options: opts})
}

// DiskUsage tells what the store has on disk, and lists the items that all filters take. It reads no file, and
// looks at each. It fails with an error that matches ErrInvalid for a filter that is none.
func (b *Builder) DiskUsage(ctx context.Context, filters ...usage.Filter) (usage.Report, error) {
	if _, err := usage.Chosen(filters); err != nil {
		return usage.Report{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return call(ctx, b, upkeep.DiskUsage{Filter: filters})
}

// Remembers says whether the cache knows of layers that Prune has removed, so that
// StageOptions.Lookup finds more than other stages do.
func (b *Builder) Remembers(ctx context.Context) (bool, error) {
	return call(ctx, b, protocol.Remembers{})
}

// PullOptions is how Pull fetches an image.
type PullOptions struct {
	Registry Registry // the zero value is the Builder's
	// Platform, OS/ARCH[/VARIANT] or "local", chooses the image where there are several.
	// "" is this machine's.
	Platform string
}

// Pull fetches an image into the store. ref is a name, or a reference with a
// transport (docker://, oci:, oci-archive:, docker-archive:, dir:).
func (b *Builder) Pull(ctx context.Context, ref string, opts PullOptions) (Image, error) {
	p, err := readPlatform(opts.Platform)
	if err != nil {
		return Image{}, err
	}
	out, err := call(ctx, b, protocol.Pull{Ref: ref, Platform: p, Access: opts.Registry.or(b.opts.Registry).access()})
	return image(out), err
}

func checkFormat(format string) error {
	if format != "" && format != "oci" && format != "docker" {
		return fmt.Errorf("%w: image format %q is neither oci nor docker", ErrInvalid, format)
	}
	return nil
}
