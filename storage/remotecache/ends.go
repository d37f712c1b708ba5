package remotecache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/types"
)

// Named is a reference that containers/image reaches nothing by: it is of a Place, or of an image that is put
// together of several. Its text is what messages call it.
type Named string

// Name is that of the transport.
func (Named) Name() string { return "oakum-cache" }

// ParseReference refuses, for no text leads to one.
func (Named) ParseReference(text string) (types.ImageReference, error) {
	return nil, fmt.Errorf("%w: %q", ErrInvalid, text)
}

// The rest is that of types.ImageTransport and types.ImageReference.

// ValidatePolicyConfigurationScope takes everything.
func (Named) ValidatePolicyConfigurationScope(string) error { return nil }

// Transport is the reference itself.
func (n Named) Transport() types.ImageTransport { return n }

// StringWithinTransport is its text.
func (n Named) StringWithinTransport() string { return string(n) }

// DockerReference is nil.
func (n Named) DockerReference() reference.Named { return nil }

// PolicyConfigurationIdentity is "".
func (n Named) PolicyConfigurationIdentity() string { return "" }

// PolicyConfigurationNamespaces is nil.
func (n Named) PolicyConfigurationNamespaces() []string { return nil }

// NewImage refuses, as what follows.
func (n Named) NewImage(context.Context, *types.SystemContext) (types.ImageCloser, error) {
	return nil, errUnreachable
}

// NewImageSource refuses.
func (n Named) NewImageSource(context.Context, *types.SystemContext) (types.ImageSource, error) {
	return nil, errUnreachable
}

// NewImageDestination refuses.
func (n Named) NewImageDestination(context.Context, *types.SystemContext) (types.ImageDestination, error) {
	return nil, errUnreachable
}

// DeleteImage refuses.
func (n Named) DeleteImage(context.Context, *types.SystemContext) error { return errUnreachable }

var errUnreachable = errors.New("it is reached by no reference")

// noInstances are those methods of types.ImageSource that a cache has no use for.
type noInstances struct{}

func (noInstances) GetSignatures(context.Context, *digest.Digest) ([][]byte, error) { return nil, nil }
func (noInstances) HasThreadSafeGetBlob() bool                                      { return true }
func (noInstances) LayerInfosForCopy(context.Context, *digest.Digest) ([]types.BlobInfo, error) {
	return nil, nil
}

// placeSource reads a Place as an image.
type placeSource struct {
	noInstances
	place Place
	name  Named
}

// Source reads a Place as containers/image reads an image.
func Source(p Place, at At) types.ImageSource {
	return &placeSource{place: p, name: Named(at.String())}
}

func (s *placeSource) Reference() types.ImageReference { return s.name }
func (s *placeSource) Close() error                    { return nil }

func (s *placeSource) GetManifest(ctx context.Context, instance *digest.Digest) ([]byte, string, error) {
	name := ManifestName
	if instance != nil {
		if err := checkDigest(*instance); err != nil { // an index is whatever somebody wrote
			return nil, "", err
		}
		name = instance.String()
	}
	body, err := s.place.Get(ctx, name)
	if err != nil {
		return nil, "", fmt.Errorf("reading the manifest: %w", err)
	}
	defer body.Close()
	raw, err := readAtMost(body, maxManifest)
	return raw, manifest.GuessMIMEType(raw), err
}

func (s *placeSource) GetBlob(ctx context.Context, info types.BlobInfo, _ types.BlobInfoCache) (io.ReadCloser, int64, error) {
	if err := checkDigest(info.Digest); err != nil {
		return nil, 0, err
	}
	body, err := s.place.Get(ctx, info.Digest.String())
	return body, info.Size, err
}

// Mixed is an image that is put together: a manifest, its configuration, and layers of which each is opened in its
// own way.
type Mixed struct {
	noInstances
	Name             Named
	Manifest, Config []byte
	// Blob opens a layer, and Repositories are those of registries that are known to have it.
	Blob         func(ctx context.Context, info types.BlobInfo) (io.ReadCloser, error)
	Repositories func(d digest.Digest) []string
}

// Reference is Name.
func (m *Mixed) Reference() types.ImageReference { return m.Name }

// Close does nothing.
func (m *Mixed) Close() error { return nil }

// GetManifest gives the manifest.
func (m *Mixed) GetManifest(context.Context, *digest.Digest) ([]byte, string, error) {
	return m.Manifest, imgspec.MediaTypeImageManifest, nil
}

// GetBlob opens the configuration or a layer.
func (m *Mixed) GetBlob(ctx context.Context, info types.BlobInfo, _ types.BlobInfoCache) (io.ReadCloser, int64, error) {
	if info.Digest == digest.FromBytes(m.Config) {
		return io.NopCloser(bytes.NewReader(m.Config)), int64(len(m.Config)), nil
	}
	body, err := m.Blob(ctx, info)
	return body, info.Size, err
}

// RepositoriesOf are those that are known to have a blob.
func (m *Mixed) RepositoriesOf(d digest.Digest) []string {
	if m.Repositories == nil {
		return nil
	}
	return m.Repositories(d)
}

// placeDestination writes an image to a Place.
type placeDestination struct {
	place Place
	name  Named
	temp  string
}

// Destination writes to a Place as containers/image writes an image. What is compressed on the way, whose digest is
// known at its end, is kept in the directory temp until then, unless the place is a Layout.
func Destination(p Place, at At, temp string) types.ImageDestination {
	return &placeDestination{p, Named(at.String()), temp}
}

func (d *placeDestination) Reference() types.ImageReference { return d.name }
func (d *placeDestination) Close() error                    { return nil }
func (d *placeDestination) SupportedManifestMIMETypes() []string {
	return []string{imgspec.MediaTypeImageManifest}
}
func (d *placeDestination) SupportsSignatures(context.Context) error { return errUnreachable }
func (d *placeDestination) DesiredLayerCompression() types.LayerCompression {
	return types.Compress
}
func (d *placeDestination) AcceptsForeignLayerURLs() bool        { return false }
func (d *placeDestination) MustMatchRuntimeOS() bool             { return false }
func (d *placeDestination) IgnoresEmbeddedDockerReference() bool { return true }
func (d *placeDestination) HasThreadSafePutBlob() bool           { return true }

func (d *placeDestination) PutSignatures(context.Context, [][]byte, *digest.Digest) error {
	return errUnreachable
}
func (d *placeDestination) Commit(context.Context, types.UnparsedImage) error { return nil }

func (d *placeDestination) TryReusingBlob(ctx context.Context, info types.BlobInfo, _ types.BlobInfoCache, _ bool) (bool, types.BlobInfo, error) {
	has, err := d.place.Has(ctx, info.Digest.String())
	return has, info, err
}

func (d *placeDestination) PutManifest(ctx context.Context, raw []byte, _ *digest.Digest) error {
	return d.place.Put(ctx, ManifestName, int64(len(raw)), bytes.NewReader(raw))
}

func (d *placeDestination) PutBlob(ctx context.Context, stream io.Reader, info types.BlobInfo, _ types.BlobInfoCache, _ bool) (types.BlobInfo, error) {
	if l, is := d.place.(*Layout); is {
		got, size, err := l.put(stream)
		return types.BlobInfo{Digest: got, Size: size}, err
	}
	if info.Digest != "" && info.Size >= 0 {
		return info, d.place.Put(ctx, info.Digest.String(), info.Size, stream)
	}
	return d.spool(ctx, stream)
}

// spool keeps a stream in a file until its digest and size are known.
func (d *placeDestination) spool(ctx context.Context, stream io.Reader) (info types.BlobInfo, err error) {
	f, err := os.CreateTemp(d.temp, "cache-")
	if err != nil {
		return info, err
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil { // so that nothing is left of it
		return info, err
	}
	sum := digest.SHA256.Digester()
	if info.Size, err = io.Copy(io.MultiWriter(f, sum.Hash()), stream); err != nil {
		return info, err
	}
	info.Digest = sum.Digest()
	return info, d.place.Put(ctx, info.Digest.String(), info.Size, io.NewSectionReader(f, 0, info.Size))
}
