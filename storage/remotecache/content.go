package remotecache

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/image"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/pkg/blobinfocache/memory"
	"go.podman.io/image/v5/types"

	"github.com/oakum-build/oakum/storage/records"
)

// The types of the artifact (OCI image specification, "Guidelines for Artifact Usage"), and of its configuration.
const (
	ArtifactType = "application/vnd.oakum.cache.v1"
	ConfigType   = "application/vnd.oakum.cache.index.v1+json"
)

// Content is what a cache has.
type Content struct {
	Index
	// Offers are the blobs of layers, by the digests of their tars. That they are that is only said.
	Offers map[digest.Digest]imgspec.Descriptor
	// Digest is that of the manifest.
	Digest digest.Digest
	// Dropped is how many records were left out, since they cannot be any.
	Dropped int
	// Skipped says why images of an index were passed over.
	Skipped []error
}

// mostInstances is of how many images of an index the configurations are read.
const mostInstances = 32

// Allow says by an error that what was found may not be used, before more than its manifest is read.
type Allow func(ctx context.Context, img types.UnparsedImage) error

// Open reads a cache, or the images of a name that have one in their configuration. What is none is an error that
// matches ErrInvalid.
func Open(ctx context.Context, src types.ImageSource, allow Allow) (Content, error) {
	c := Content{Offers: map[digest.Digest]imgspec.Descriptor{}}
	top := image.UnparsedInstance(src, nil)
	raw, kind, err := top.Manifest(ctx)
	if err == nil {
		err = allow(ctx, top)
	}
	if err != nil {
		return c, err
	}
	c.Digest = digest.FromBytes(raw)
	found := false
	if !manifest.MIMETypeIsMultiImage(kind) {
		found, err = c.add(ctx, src, raw)
	} else {
		found, err = c.addAll(ctx, src, raw, kind)
	}
	if err == nil && !found {
		err = fmt.Errorf("%w: it is an image or an artifact without one", ErrInvalid)
	}
	return c, err
}

// addAll adds what the images of an index have. One that fails is skipped, since each may be of another branch,
// whose cache goes without the others'; when none is left that has a cache, the first failure is the error.
func (c *Content) addAll(ctx context.Context, src types.ImageSource, raw []byte, kind string) (found bool, err error) {
	list, err := manifest.ListFromBlob(raw, kind)
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	instances := list.Instances()
	var first error
	for _, d := range instances[:min(len(instances), mostInstances)] {
		has, err := c.addInstance(ctx, src, d)
		if ctx.Err() != nil {
			return false, errors.Join(err, ctx.Err())
		}
		if err != nil {
			c.Skipped = append(c.Skipped, fmt.Errorf("its image %s: %w", d, err))
			first = cmp.Or(first, err)
		}
		found = found || has
	}
	if !found {
		return false, first
	}
	return true, nil
}

// addInstance adds what an image of an index has. An index within the index has nothing.
func (c *Content) addInstance(ctx context.Context, src types.ImageSource, d digest.Digest) (found bool, err error) {
	raw, kind, err := image.UnparsedInstance(src, &d).Manifest(ctx)
	if err != nil || manifest.MIMETypeIsMultiImage(kind) {
		return false, err
	}
	return c.add(ctx, src, raw)
}

// add adds what one manifest has, all of it or nothing.
func (c *Content) add(ctx context.Context, src types.ImageSource, raw []byte) (found bool, err error) {
	var m struct { // Docker's second schema has the same fields
		Config imgspec.Descriptor       `json:"config"`
		Layers list[imgspec.Descriptor] `json:"layers"`
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return false, fmt.Errorf("%w: its manifest: %w", ErrInvalid, err)
	}
	if len(m.Layers) > maxLayers {
		return false, fmt.Errorf("%w: a manifest of %d layers", ErrInvalid, len(m.Layers))
	}
	own := m.Config.MediaType == ConfigType
	if !own && m.Config.MediaType != imgspec.MediaTypeImageConfig && m.Config.MediaType != manifest.DockerV2Schema2ConfigMediaType {
		return false, nil
	}
	config, err := readSmall(ctx, src, m.Config)
	if err != nil {
		return false, fmt.Errorf("reading the configuration: %w", err)
	}
	x, dropped := &Index{}, 0
	if own {
		*x, dropped, err = Decode(config)
	} else {
		x, dropped, err = inline(config)
	}
	if err != nil || x == nil {
		return false, err
	}
	if len(x.Layers) != len(m.Layers) {
		return false, fmt.Errorf("%w: it tells of %d layers, and its manifest has %d", ErrInvalid, len(x.Layers), len(m.Layers))
	}
	if len(c.Records)+len(x.Records) > maxRecords || len(c.Reads)+len(x.Reads) > maxReads {
		return false, fmt.Errorf("%w: the images of the index have more records together than a cache may have", ErrInvalid)
	}
	for i, l := range m.Layers {
		if d := x.Layers[i]; records.Usable(d) && records.Usable(l.Digest) && l.Size >= 0 && isLayer(l.MediaType) {
			c.Offers[d] = imgspec.Descriptor{MediaType: l.MediaType, Digest: l.Digest, Size: l.Size, Annotations: l.Annotations}
		}
	}
	c.Records, c.Reads, c.Dropped = append(c.Records, x.Records...), append(c.Reads, x.Reads...), c.Dropped+dropped
	return true, nil
}

func isLayer(mediaType string) bool {
	switch mediaType {
	case imgspec.MediaTypeImageLayer, imgspec.MediaTypeImageLayerGzip, imgspec.MediaTypeImageLayerZstd,
		manifest.DockerV2SchemaLayerMediaTypeUncompressed, manifest.DockerV2Schema2LayerMediaType, manifest.DockerV2SchemaLayerMediaTypeZstd:
		return true
	}
	return false
}

// readSmall reads a blob into memory, and compares it with its digest and size.
func readSmall(ctx context.Context, src types.ImageSource, d imgspec.Descriptor) ([]byte, error) {
	if d.Size < 0 || d.Size > maxIndex {
		return nil, fmt.Errorf("%w: it has %d bytes, and may have %d", ErrInvalid, d.Size, maxIndex)
	}
	if err := checkDigest(d.Digest); err != nil {
		return nil, err
	}
	body, _, err := src.GetBlob(ctx, types.BlobInfo{Digest: d.Digest, Size: d.Size}, memory.New())
	if err != nil {
		return nil, err
	}
	defer body.Close()
	raw, err := io.ReadAll(io.LimitReader(body, d.Size+1))
	if err != nil {
		return nil, err
	}
	if int64(len(raw)) != d.Size || digest.FromBytes(raw) != d.Digest {
		return nil, fmt.Errorf("%w: it has not the digest %s, or not the %d bytes that its manifest says", ErrInvalid, d.Digest, d.Size)
	}
	return raw, nil
}

// Manifest makes the manifest of a cache with layers, and its configuration of an index of which these are the
// Layers.
func Manifest(x Index, layers []imgspec.Descriptor) (raw, config []byte, err error) {
	if config, err = x.Encode(); err != nil {
		return nil, nil, err
	}
	m := imgspec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspec.MediaTypeImageManifest, ArtifactType: ArtifactType,
		Config: imgspec.Descriptor{MediaType: ConfigType, Digest: digest.FromBytes(config), Size: int64(len(config))},
		Layers: layers,
	}
	if m.Layers == nil {
		m.Layers = []imgspec.Descriptor{}
	}
	var text bytes.Buffer
	err = json.NewEncoder(&text).Encode(m)
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), config, err
}
