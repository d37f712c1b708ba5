//go:build linux

package builder

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	digest "github.com/opencontainers/go-digest"

	"github.com/oakum-build/oakum/builder/internal/worker"
	"github.com/oakum-build/oakum/storage"
)

// Image is an image in the store.
type Image struct {
	ID      string        // hex, without algorithm
	Digest  digest.Digest // of its manifest
	Names   []string
	Created time.Time
	Size    int64 // bytes, uncompressed, with its base
}

// imageRecord is an image as the worker gives it.
type imageRecord storage.Image

func (r imageRecord) image() Image {
	return Image{ID: r.ID, Digest: r.Digest, Names: r.Names, Created: r.Created, Size: r.Size}
}

// Manifest is the manifest of an image, as an OCI descriptor has it.
type Manifest struct {
	MediaType string
	Digest    digest.Digest
	Size      int64 // bytes
}

// ImageDetail is all that the store knows of an image.
type ImageDetail struct {
	Image
	Author       string
	Architecture string
	Variant      string
	OS           string
	Manifest     Manifest
	Config       Config
	Layers       []digest.Digest // diff IDs, base first
	LayerSizes   []int64         // uncompressed bytes, one for each layer
	History      []History
}

func (r Registry) access() storage.Access {
	return storage.Access{AuthFile: r.AuthFile, Username: r.Username, Password: r.Password, Host: r.Host, CertDir: r.CertDir,
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
	var records []imageRecord
	if err := b.call(ctx, "images", nil, &records, nil); err != nil {
		return nil, err
	}
	images := make([]Image, len(records))
	for i, r := range records {
		images[i] = r.image()
	}
	return images, nil
}

// Inspect finds an image by name, short name, id, id prefix or name@digest.
func (b *Builder) Inspect(ctx context.Context, ref string) (ImageDetail, error) {
	var d storage.Detail
	if err := b.call(ctx, "inspect", worker.Ref{Ref: ref}, &d, nil); err != nil {
		return ImageDetail{}, err
	}
	var c struct {
		baseImage
		History []History `json:"history"`
	}
	if err := json.Unmarshal(d.Config, &c); err != nil {
		return ImageDetail{}, fmt.Errorf("image configuration of %s: %w", ref, err)
	}
	return ImageDetail{
		Image: imageRecord(d.Image).image(), Author: c.Author, Architecture: c.Architecture, Variant: c.Variant, OS: c.OS,
		Manifest: Manifest(d.Manifest), Config: c.Config, Layers: d.Layers, LayerSizes: d.LayerSizes, History: c.History,
	}, nil
}

// Tag adds names to an image.
func (b *Builder) Tag(ctx context.Context, ref string, names ...string) error {
	return b.call(ctx, "tag", worker.Ref{Ref: ref, Names: names}, nil, nil)
}

// RemoveOptions is how Remove goes about it. The zero value refuses to remove an
// image id with several names.
type RemoveOptions struct {
	Force bool // remove all names
	// Unnamed removes the image only if it has no name, also none by now.
	Unnamed bool
}

// Removed is what Remove did.
type Removed struct {
	Untagged []string
	Deleted  []string // image ids
}

// Remove removes a name, and the image when it was its last. It fails with an error that
// matches ErrInUse, with Force too, where the image or a layer of it is used by a container,
// whether Podman's or Buildah's, or by a stage of this Builder or of another one.
func (b *Builder) Remove(ctx context.Context, ref string, opts RemoveOptions) (Removed, error) {
	var out worker.Removed
	err := b.call(ctx, "remove", worker.Ref{Ref: ref, Force: opts.Force, Unnamed: opts.Unnamed}, &out, nil)
	return Removed(out), err
}

// Pruned is what Prune removed.
type Pruned struct {
	Layers int
	Size   int64 // bytes, uncompressed
}

// Prune empties the layer cache: it removes the layers of build steps that no image and
// no container uses. It fails with an error that matches ErrInUse while another Builder
// has the store open. What the cache knows of a removed layer stays while an image has what
// was copied from it: see Remembers.
func (b *Builder) Prune(ctx context.Context) (Pruned, error) {
	var out storage.Pruned
	err := b.call(ctx, "prune", nil, &out, nil)
	return Pruned(out), err
}

// Remembers says whether the cache knows of layers that Prune has removed, so that
// StageOptions.Lookup finds more than other stages do.
func (b *Builder) Remembers(ctx context.Context) (bool, error) {
	var out bool
	err := b.call(ctx, "remembers", nil, &out, nil)
	return out, err
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
	p, err := platform(opts.Platform)
	if err != nil {
		return Image{}, err
	}
	var out imageRecord
	err = b.call(ctx, "pull", worker.Ref{Ref: ref, Platform: p, Access: opts.Registry.or(b.opts.Registry).access()}, &out, nil)
	return out.image(), err
}

// PushOptions is how Push sends an image.
type PushOptions struct {
	Registry Registry // the zero value is the Builder's
	// Format converts the manifest: "oci", "docker" or "" to keep it.
	Format string
}

// Push sends an image of the store to dest: a registry reference, or a reference
// with a transport (docker://, oci:, oci-archive:, docker-archive:, dir:). "" is the
// image's own name. It returns the manifest as sent, whose layers are compressed, so that
// its digest is not that of the image in the store.
func (b *Builder) Push(ctx context.Context, ref, dest string, opts PushOptions) (Manifest, error) {
	if err := checkFormat(opts.Format); err != nil {
		return Manifest{}, err
	}
	var out storage.Manifest
	err := b.call(ctx, "push", worker.Ref{Ref: ref, Dest: dest, Format: opts.Format, Access: opts.Registry.or(b.opts.Registry).access()}, &out, nil)
	return Manifest(out), err
}

func checkFormat(format string) error {
	if format != "" && format != "oci" && format != "docker" {
		return fmt.Errorf("%w: image format %q is neither oci nor docker", ErrInvalid, format)
	}
	return nil
}
