//go:build linux

package storage

import (
	"context"
	"errors"
	"fmt"

	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/oakum-build/oakum/storage/imageref"
	"github.com/oakum-build/oakum/storage/internal/policy"
	"github.com/oakum-build/oakum/storage/registry"
	"github.com/oakum-build/oakum/storage/remotecache"
)

// ReadCache reads what a cache elsewhere knows and offers, and none of its layers. The signature policy must allow
// it, as an image that is pulled. What is no cache is an error that matches remotecache.ErrInvalid.
func (s *Store) ReadCache(ctx context.Context, at remotecache.At, a registry.Access) (*remotecache.Supply, error) {
	found := &remotecache.Supply{At: at, Access: a}
	sys, err := s.systemContext(a)
	if err != nil {
		return nil, err
	}
	trust, err := policy.Read(sys)
	if err != nil {
		return nil, err
	}
	err = s.withCache(ctx, found, func(ctx context.Context, src types.ImageSource) (err error) {
		found.Content, err = remotecache.Open(ctx, src, trust.Allow)
		if errors.Is(err, remotecache.ErrInvalid) {
			err = registry.Local(err)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// cacheName reads the name of a cache in a registry.
func cacheName(ref string) (reference.Named, error) {
	to, err := destination(ref, false)
	if err != nil {
		return nil, err
	}
	if to.Transport().Name() != docker.Transport.Name() {
		return nil, fmt.Errorf("%w %q: a cache is in a registry, or is named as a layout", imageref.ErrInvalid, ref)
	}
	return to.DockerReference(), nil
}

// withCache calls do with a cache as a source of blobs, again where a registry failed for a reason that may pass.
func (s *Store) withCache(ctx context.Context, from *remotecache.Supply, do func(context.Context, types.ImageSource) error) error {
	if from.At.Ref == "" {
		src, done, err := s.reachCache(ctx, from)
		if err != nil {
			return err
		}
		defer done()
		return do(ctx, src)
	}
	named, ref, err := cacheReference(from)
	if err != nil {
		return err
	}
	sys, err := s.systemContext(from.Access)
	if err != nil {
		return err
	}
	return registry.Transfer(ctx, sys, from.Access, registry.Pulling, named, func(ctx context.Context, sys *types.SystemContext) error {
		src, err := ref.NewImageSource(ctx, sys)
		if err != nil {
			return err
		}
		return errors.Join(do(ctx, src), src.Close())
	})
}

// reachCache opens a cache as a source of blobs until done.
func (s *Store) reachCache(ctx context.Context, from *remotecache.Supply) (src types.ImageSource, done func(), err error) {
	if from.At.Ref == "" {
		place, end, err := openPlace(from.At, false)
		if err != nil {
			return nil, nil, err
		}
		return remotecache.Source(place, from.At), func() { _ = end() }, nil
	}
	named, ref, err := cacheReference(from)
	if err != nil {
		return nil, nil, err
	}
	sys, err := s.systemContext(from.Access)
	if err != nil {
		return nil, nil, err
	}
	session, err := registry.Open(ctx, sys, from.Access, registry.Pulling, named)
	if err != nil {
		return nil, nil, err
	}
	if src, err = ref.NewImageSource(ctx, session.System()); err != nil {
		session.Close()
		return nil, nil, err
	}
	return src, func() { _ = src.Close(); session.Close() }, nil
}

// cacheReference is how a cache in a registry is read. Once it was read, that is by its digest: what has its name
// may be another by now.
func cacheReference(from *remotecache.Supply) (reference.Named, types.ImageReference, error) {
	named, err := cacheName(from.At.Ref)
	if err == nil && from.Digest != "" {
		named, err = reference.WithDigest(reference.TrimNamed(named), from.Digest)
	}
	if err != nil {
		return nil, nil, err
	}
	ref, err := docker.NewReference(named)
	return named, ref, err
}

// openPlace opens what is no registry.
func openPlace(at remotecache.At, make bool) (remotecache.Place, func() error, error) {
	if at.Layout == "" {
		return at.Place, func() error { return nil }, nil
	}
	l, err := remotecache.OpenLayout(at.Layout, at.Tag, make)
	if err != nil {
		return nil, nil, fmt.Errorf("opening the layout: %w", err)
	}
	return l, l.Close, nil
}

// cacheRepository is where the blobs of a cache lie, as HOST/PATH, or "".
func cacheRepository(at remotecache.At) string {
	if at.Ref == "" {
		return ""
	}
	named, err := cacheName(at.Ref)
	if err != nil {
		return ""
	}
	return named.Name()
}
