package transfer

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/types"

	"github.com/oakum-build/oakum/storage/compression"
)

// manifest is the image's manifest of a type, with layers as the destination has them. Only the media
// types differ between the formats; the configuration is kept byte for byte. (The library writes that
// of a Docker image anew with the fields that the OCI specification names, and so drops Healthcheck,
// OnBuild and Shell and gives the image another id.)
func (s *single) manifest(kind string, layers []types.BlobInfo) (written, error) {
	own := manifest.NormalizedMIMEType(s.source.kind)
	if kind == manifest.DockerV2Schema2MediaType {
		for _, l := range layers {
			if compressionOf(l.MediaType) == compression.Zstd {
				return written{}, fmt.Errorf("layer %s is compressed by zstd, which the Docker format does not know: choose the OCI format, or gzip", l.Digest)
			}
		}
	}
	same := slices.EqualFunc(layers, s.img.LayerInfos(), func(a, b types.BlobInfo) bool { return a.Digest == b.Digest })
	if same && own == kind {
		return s.source, nil
	}
	if s.fixed != "" {
		return written{}, errors.New(s.fixed)
	}
	if own != v1.MediaTypeImageManifest && own != manifest.DockerV2Schema2MediaType {
		return written{}, fmt.Errorf("a manifest of the type %s cannot be changed: convert the image, for instance by building FROM it", own)
	}
	var m v1.Manifest // Docker's second schema has the same fields
	if err := json.Unmarshal(s.source.raw, &m); err != nil {
		return written{}, err
	}
	m.Layers = make([]v1.Descriptor, len(layers))
	for i, l := range layers {
		m.Layers[i] = v1.Descriptor{MediaType: l.MediaType, Digest: l.Digest, Size: l.Size, URLs: l.URLs, Annotations: l.Annotations}
	}
	if own != kind {
		if err := convert(&m, kind); err != nil {
			return written{}, err
		}
	}
	raw, err := json.Marshal(m)
	return written{raw, kind}, err
}

// convert makes a manifest one of another type.
func convert(m *v1.Manifest, kind string) error {
	types, config, format := ociTypes(), v1.MediaTypeImageConfig, "OCI"
	if kind == manifest.DockerV2Schema2MediaType {
		types, config, format = dockerTypes(), manifest.DockerV2Schema2ConfigMediaType, "Docker"
		if m.Config.MediaType != v1.MediaTypeImageConfig {
			return fmt.Errorf("the Docker format has no artifacts, such as of %q", m.Config.MediaType)
		}
		m.Annotations, m.Subject, m.ArtifactType, m.Config.Annotations = nil, nil, "", nil
	}
	for i := range m.Layers {
		l := &m.Layers[i]
		as, ok := types[l.MediaType]
		if !ok {
			return fmt.Errorf("layer %s has the media type %q, which the %s format has no counterpart of", l.Digest, l.MediaType, format)
		}
		l.MediaType = as
		if format == "Docker" {
			l.Annotations = nil
		}
	}
	m.Versioned, m.MediaType, m.Config.MediaType = specs.Versioned{SchemaVersion: 2}, kind, config
	return nil
}

// ociTypes are OCI's media types of layers by Docker's.
func ociTypes() map[string]string {
	return map[string]string{
		manifest.DockerV2SchemaLayerMediaTypeUncompressed: v1.MediaTypeImageLayer,
		manifest.DockerV2Schema2LayerMediaType:            v1.MediaTypeImageLayerGzip,
		manifest.DockerV2SchemaLayerMediaTypeZstd:         v1.MediaTypeImageLayerZstd,
		//lint:ignore SA1019 old images have such layers
		manifest.DockerV2Schema2ForeignLayerMediaType: v1.MediaTypeImageLayerNonDistributable,
		//lint:ignore SA1019 old images have such layers
		manifest.DockerV2Schema2ForeignLayerMediaTypeGzip: v1.MediaTypeImageLayerNonDistributableGzip,
	}
}

// dockerTypes are Docker's media types of layers by OCI's. Its format has no layers of zstd.
func dockerTypes() map[string]string {
	types := map[string]string{}
	for docker, oci := range ociTypes() {
		if oci != v1.MediaTypeImageLayerZstd {
			types[oci] = docker
		}
	}
	return types
}

// mediaTypes are those of layers in each format: uncompressed, of gzip, and of zstd.
var mediaTypes = [][3]string{
	{v1.MediaTypeImageLayer, v1.MediaTypeImageLayerGzip, v1.MediaTypeImageLayerZstd},
	{manifest.DockerV2SchemaLayerMediaTypeUncompressed, manifest.DockerV2Schema2LayerMediaType, manifest.DockerV2SchemaLayerMediaTypeZstd},
	//lint:ignore SA1019 old images have such layers
	{v1.MediaTypeImageLayerNonDistributable, v1.MediaTypeImageLayerNonDistributableGzip, v1.MediaTypeImageLayerNonDistributableZstd},
	{manifest.DockerV2Schema2ForeignLayerMediaType, manifest.DockerV2Schema2ForeignLayerMediaTypeGzip, ""},
}

// algorithms are those of mediaTypes, in their order.
var algorithms = []string{compression.Uncompressed, compression.Gzip, compression.Zstd}

// unknown is how what is no layer is compressed.
const unknown = ""

// compressionOf is how a layer of a media type is compressed.
func compressionOf(mediaType string) string {
	for _, format := range mediaTypes {
		if at := slices.Index(format[:], mediaType); at >= 0 && mediaType != "" {
			return algorithms[at]
		}
	}
	return unknown
}

// mediaType is that of a layer compressed in another way, or "" where there is none.
func mediaType(of, algorithm string) string {
	if algorithm == compression.ZstdChunked {
		algorithm = compression.Zstd
	}
	at := slices.Index(algorithms, algorithm)
	for _, format := range mediaTypes {
		if at >= 0 && slices.Contains(format[:], of) {
			return format[at]
		}
	}
	return ""
}
