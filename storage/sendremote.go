//go:build linux

package storage

import (
	"context"
	"fmt"
	"strings"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"
	cs "go.podman.io/storage"

	"github.com/oakum-build/oakum/storage/imageindex"
	"github.com/oakum-build/oakum/storage/imageref"
	"github.com/oakum-build/oakum/storage/internal/transfer"
	"github.com/oakum-build/oakum/storage/registry"
)

// sendAround sees to those images of an index that are not sent from the store with it: with only the index
// all of them, which are said to be there; else those that lie in registries, which are copied from
// there unless they are in the very repository. It gives what says of an image that it is not to be sent.
func (s *Store) sendAround(ctx context.Context, sys *types.SystemContext, to types.ImageReference, img *cs.Image, only bool, a registry.Access, o transfer.Options) (there func(imgspec.Descriptor) bool, err error) {
	if !isIndex(img) {
		return nil, nil
	}
	if only {
		return func(imgspec.Descriptor) bool { return true }, nil
	}
	entries, err := s.readIndex(img)
	if err != nil {
		return nil, err
	}
	remote := map[string]bool{}
	for _, e := range entries {
		if e.From == "" {
			continue
		}
		if err := s.sendFrom(ctx, sys, to, e, a, o); err != nil {
			return nil, err
		}
		remote[e.Digest.String()] = true
	}
	return func(d imgspec.Descriptor) bool { return remote[d.Digest.String()] }, nil
}

// sendFrom copies an image of an index from one repository to another. In one registry the blobs stay
// where they are.
func (s *Store) sendFrom(ctx context.Context, sys *types.SystemContext, to types.ImageReference, e imageindex.Entry, a registry.Access, o transfer.Options) error {
	if to.Transport().Name() != docker.Transport.Name() {
		return fmt.Errorf("%w: the image for %s, which the index has, lies in a registry only; get it with oakum pull %s", ErrNotFound, e.For(), e.From)
	}
	named, err := reference.ParseNormalizedNamed(strings.TrimPrefix(e.From, inRegistry))
	if err != nil {
		return fmt.Errorf("%w %q: %w", imageref.ErrInvalid, e.From, err)
	}
	repository := reference.TrimNamed(to.DockerReference())
	if named.Name() == repository.Name() {
		return nil
	}
	from, err := docker.NewReference(named)
	if err != nil {
		return err
	}
	pinned, err := reference.WithDigest(repository, e.Digest)
	if err != nil {
		return err
	}
	dest, err := docker.NewReference(pinned)
	if err != nil {
		return err
	}
	o.Index, o.Format = false, "" // it is in the index as it is
	once := a
	once.Retry.Times = -1 // what is sent is tried again below
	return registry.Transfer(ctx, sys, once, registry.Pulling, named, func(ctx context.Context, source *types.SystemContext) error {
		o.Source = source
		_, err := s.send(ctx, sys, dest, from, a, o)
		return err
	})
}
