//go:build linux

package storage

import (
	"context"
	"errors"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker"
	dockerarchive "go.podman.io/image/v5/docker/archive"
	ociarchive "go.podman.io/image/v5/oci/archive"
	ocilayout "go.podman.io/image/v5/oci/layout"
	istorage "go.podman.io/image/v5/storage"
	"go.podman.io/image/v5/types"
	cs "go.podman.io/storage"

	"github.com/oakum-build/oakum/storage/imageref"
)

// pulledReference is what src will be called in the store: its name in a registry, or
// with inner in an archive or layout; the store names an image that has none by its id,
// that is by the digest of its configuration.
func (s *Store) pulledReference(ctx context.Context, sys *types.SystemContext, into cs.Store, src types.ImageReference, inner bool) (types.ImageReference, error) {
	registry := src.Transport().Name() == docker.Transport.Name()
	if !inner && (sys.ArchitectureChoice != "" || !registry) {
		return s.referenceByID(ctx, sys, into, src)
	}
	// docker-archive:FILE:NAME has a name as well, by which the image is chosen.
	if named := src.DockerReference(); named != nil {
		return s.reference(into, named.String())
	}
	inside, err := nameInside(sys, src)
	if err != nil {
		return nil, err
	}
	if name, err := imageref.Canonical(inside); err == nil {
		return s.reference(into, name)
	}
	return s.referenceByID(ctx, sys, into, src)
}

// referenceByID is src in the store without a name.
func (s *Store) referenceByID(ctx context.Context, sys *types.SystemContext, into cs.Store, src types.ImageReference) (types.ImageReference, error) {
	img, err := src.NewImage(ctx, sys)
	if err != nil {
		return nil, err
	}
	id := img.ConfigInfo().Digest.Encoded()
	if err := img.Close(); err != nil {
		return nil, err
	}
	return istorage.Transport.NewStoreReference(&naming{Store: into, of: s}, nil, id)
}

// nameInside is the name that an archive or layout gives its image, or "".
func nameInside(sys *types.SystemContext, src types.ImageReference) (string, error) {
	switch src.Transport().Name() {
	case "oci-archive":
		d, err := ociarchive.LoadManifestDescriptorWithContext(sys, src)
		return d.Annotations[imgspec.AnnotationRefName], err
	case "oci":
		d, err := ocilayout.LoadManifestDescriptor(src)
		return d.Annotations[imgspec.AnnotationRefName], err
	case "docker-archive":
		return nameInDockerArchive(sys, src)
	}
	return "", nil
}

func nameInDockerArchive(sys *types.SystemContext, src types.ImageReference) (name string, err error) {
	reader, _, err := dockerarchive.NewReaderForReference(sys, src)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	images, err := reader.List()
	if err != nil || len(images) != 1 || len(images[0]) == 0 {
		return "", err
	}
	if named := images[0][0].DockerReference(); named != nil {
		name = named.String()
	}
	return name, nil
}
