//go:build linux

package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/manifest"
	ociarchive "go.podman.io/image/v5/oci/archive"
	oci "go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"
	cs "go.podman.io/storage"
)

// send copies an image of the store, and converts its manifest where opts or the
// destination want another format than its own.
func send(ctx context.Context, pc *signature.PolicyContext, to, src types.ImageReference, opts *copy.Options) ([]byte, error) {
	asOCI := *opts
	asOCI.ForceManifestMIMEType = v1.MediaTypeImageManifest
	transport := to.Transport().Name()
	switch {
	case opts.ForceManifestMIMEType == v1.MediaTypeImageManifest,
		transport == oci.Transport.Name(), transport == ociarchive.Transport.Name():
		return copy.Image(ctx, pc, to, ociReference{src}, &asOCI)
	case opts.ForceManifestMIMEType != "" || transport != docker.Transport.Name():
		return copy.Image(ctx, pc, to, src, opts)
	}
	kind, err := manifestType(ctx, src, opts.SourceCtx)
	if err != nil || kind != manifest.DockerV2Schema2MediaType {
		return copy.Image(ctx, pc, to, src, opts) // it says what is wrong
	}
	// A registry may refuse Docker's format. It is kept from trying another by itself.
	own := *opts
	own.ForceManifestMIMEType = kind
	raw, err := copy.Image(ctx, pc, to, src, &own)
	if !errors.As(err, new(types.ManifestTypeRejectedError)) {
		return raw, err
	}
	if raw, retried := copy.Image(ctx, pc, to, ociReference{src}, &asOCI); retried == nil {
		return raw, nil
	}
	return nil, err
}

func manifestType(ctx context.Context, ref types.ImageReference, sys *types.SystemContext) (string, error) {
	src, err := ref.NewImageSource(ctx, sys)
	if err != nil {
		return "", err
	}
	defer src.Close()
	_, kind, err := src.GetManifest(ctx, nil)
	return kind, err
}

// ociReference is an image of the store that is read in OCI's format, whatever format
// the store has it in. The copying library converts too, but it writes a Docker image's
// configuration anew with the fields that the OCI specification names, and so drops
// Healthcheck, OnBuild and Shell and gives the image another id. Only the media types of
// the manifest differ between the formats; the configuration is kept byte for byte.
type ociReference struct{ types.ImageReference }

func (r ociReference) NewImageSource(ctx context.Context, sys *types.SystemContext) (types.ImageSource, error) {
	src, err := r.ImageReference.NewImageSource(ctx, sys)
	if err != nil {
		return nil, err
	}
	return ociSource{src}, nil
}

// ociSource is what an ociReference reads.
type ociSource struct{ types.ImageSource }

func (s ociSource) GetManifest(ctx context.Context, instance *digest.Digest) ([]byte, string, error) {
	raw, kind, err := s.ImageSource.GetManifest(ctx, instance)
	if err != nil || kind != manifest.DockerV2Schema2MediaType {
		return raw, kind, err
	}
	raw, err = ociManifest(raw)
	return raw, v1.MediaTypeImageManifest, err
}

func (s ociSource) LayerInfosForCopy(ctx context.Context, instance *digest.Digest) ([]types.BlobInfo, error) {
	layers, err := s.ImageSource.LayerInfosForCopy(ctx, instance)
	for i := range layers {
		if kind, ok := ociLayerTypes[layers[i].MediaType]; ok {
			layers[i].MediaType = kind
		}
	}
	return layers, err
}

// GetSignatures refuses to convert what is signed: a signature is of the manifest.
func (s ociSource) GetSignatures(ctx context.Context, instance *digest.Digest) ([][]byte, error) {
	_, kind, err := s.ImageSource.GetManifest(ctx, instance)
	if err != nil {
		return nil, err
	}
	signatures, err := s.ImageSource.GetSignatures(ctx, instance)
	if err == nil && len(signatures) > 0 && kind == manifest.DockerV2Schema2MediaType {
		err = errors.New("the image is signed, and its signatures would not hold in another format")
	}
	return signatures, err
}

// ociLayerTypes are OCI's media types for Docker's.
var ociLayerTypes = map[string]string{
	manifest.DockerV2SchemaLayerMediaTypeUncompressed: v1.MediaTypeImageLayer,
	manifest.DockerV2Schema2LayerMediaType:            v1.MediaTypeImageLayerGzip,
	manifest.DockerV2SchemaLayerMediaTypeZstd:         v1.MediaTypeImageLayerZstd,
	//lint:ignore SA1019 old images have such layers
	manifest.DockerV2Schema2ForeignLayerMediaType: v1.MediaTypeImageLayerNonDistributable,
	//lint:ignore SA1019 old images have such layers
	manifest.DockerV2Schema2ForeignLayerMediaTypeGzip: v1.MediaTypeImageLayerNonDistributableGzip,
}

// ociManifest is a Docker manifest of schema 2 as one of OCI, with the same
// configuration and layers.
func ociManifest(raw []byte) ([]byte, error) {
	docker, err := manifest.Schema2FromManifest(raw)
	if err != nil {
		return nil, err
	}
	m := v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: v1.MediaTypeImageManifest,
		Config: v1.Descriptor{
			MediaType: v1.MediaTypeImageConfig, Digest: docker.ConfigDescriptor.Digest, Size: docker.ConfigDescriptor.Size,
		},
		Layers: []v1.Descriptor{},
	}
	for _, l := range docker.LayersDescriptors {
		kind, ok := ociLayerTypes[l.MediaType]
		if !ok {
			return nil, fmt.Errorf("layer %s has the media type %q, which the OCI format has no counterpart of", l.Digest, l.MediaType)
		}
		m.Layers = append(m.Layers, v1.Descriptor{MediaType: kind, Digest: l.Digest, Size: l.Size, URLs: l.URLs})
	}
	return json.Marshal(m)
}

// noticeAnnotations tells what an image loses in Docker's format, whose manifests have no
// annotations.
func (s *Store) noticeAnnotations(img *cs.Image, a Access) {
	raw, err := s.cs.ImageBigData(img.ID, cs.ImageDigestBigDataKey)
	var m v1.Manifest
	if err == nil && json.Unmarshal(raw, &m) == nil && len(m.Annotations) > 0 {
		names := slices.Sorted(maps.Keys(m.Annotations))
		a.notice("Docker's format has no annotations, so that these are not sent: %q", names)
	}
}
