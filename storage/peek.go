//go:build linux

package storage

import (
	"context"
	"errors"
	"fmt"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/image"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/types"

	"github.com/oakum-build/oakum/storage/imageref"
	"github.com/oakum-build/oakum/storage/internal/policy"
	"github.com/oakum-build/oakum/storage/platform"
	"github.com/oakum-build/oakum/storage/registry"
)

// Peek reads the manifest and the configuration of an image that PullBase would pull from a registry, and none of its
// layers: what it gives has no id and no layer of the store, and nobody has compared the digests of its layers with
// anything.
func (s *Store) Peek(ctx context.Context, ref string, p platform.Platform, a registry.Access) (Detail, error) {
	sys, err := s.systemContext(a)
	if err != nil {
		return Detail{}, err
	}
	sys.OSChoice, sys.ArchitectureChoice, sys.VariantChoice = p.OS, p.Architecture, p.Variant
	trust, err := policy.Read(sys)
	if err != nil {
		return Detail{}, err
	}
	ref, _ = imageref.Unpin(ref)
	names, err := s.remoteNames(sys, ref)
	if err != nil {
		return Detail{}, err
	}
	var errs []error
	for _, named := range names {
		d, err := peek(ctx, sys, named, trust, a)
		if err == nil {
			return d, nil
		}
		errs = append(errs, err)
	}
	return Detail{}, errors.Join(errs...)
}

func peek(ctx context.Context, sys *types.SystemContext, named reference.Named, trust *policy.Policy, a registry.Access) (d Detail, err error) {
	ref, err := docker.NewReference(named)
	if err != nil {
		return d, fmt.Errorf("%w %q: %w", imageref.ErrInvalid, named, err)
	}
	err = registry.Transfer(ctx, sys, a, registry.Pulling, named, func(ctx context.Context, sys *types.SystemContext) error {
		src, err := ref.NewImageSource(ctx, sys)
		if err != nil {
			return err
		}
		d, err = describe(ctx, sys, src, trust)
		return errors.Join(err, src.Close())
	})
	return d, err
}

// describe reads the image for the platform of sys.
func describe(ctx context.Context, sys *types.SystemContext, src types.ImageSource, trust *policy.Policy) (d Detail, err error) {
	of := image.UnparsedInstance(src, nil)
	raw, kind, err := of.Manifest(ctx)
	if err != nil {
		return d, err
	}
	if manifest.MIMETypeIsMultiImage(kind) {
		list, err := manifest.ListFromBlob(raw, kind)
		if err != nil {
			return d, err
		}
		instance, err := list.ChooseInstance(sys)
		if err != nil {
			return d, err
		}
		of = image.UnparsedInstance(src, &instance)
		if raw, kind, err = of.Manifest(ctx); err != nil {
			return d, err
		}
	}
	if err := trust.Allow(ctx, of); err != nil {
		return d, err
	}
	img, err := image.FromUnparsedImage(ctx, sys, of)
	if err != nil {
		return d, err
	}
	config, err := img.OCIConfig(ctx)
	if err != nil {
		return d, err
	}
	if d.Config, err = img.ConfigBlob(ctx); err != nil {
		return d, err
	}
	if d.Digest, err = manifest.Digest(raw); err != nil {
		return d, err
	}
	d.Manifest = imgspec.Descriptor{MediaType: kind, Digest: d.Digest, Size: int64(len(raw))}
	d.Layers = config.RootFS.DiffIDs
	d.Annotations, err = annotationsOf(raw)
	return d, err
}
