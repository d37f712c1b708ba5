//go:build linux

package storage

import (
	"context"
	"errors"
	"fmt"
	"io"

	digest "github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/types"
	cs "go.podman.io/storage"
)

// sending is an image of the store as what is to be sent: an index with all its images, which must
// be here.
func (s *Store) sending(img *cs.Image) (types.ImageReference, error) {
	ref, err := s.stored(img.ID)
	if err != nil || !isIndex(img) {
		return ref, err
	}
	instances, err := s.readIndex(img)
	if err != nil {
		return nil, err
	}
	l := listReference{ImageReference: ref, instances: map[digest.Digest]types.ImageReference{}}
	for _, m := range instances {
		if m.ID == "" && m.From != "" {
			continue // see sendAround
		}
		instance, err := s.stored(m.ID)
		if err != nil {
			return nil, fmt.Errorf("%s for %s, which the index has: %w", m.Digest, m.For(), err)
		}
		l.instances[m.Digest] = instance
	}
	return l, nil
}

// listReference is an index as containers/image reads it. The images that it has are in this store
// under names of their own.
type listReference struct {
	types.ImageReference                                        // of the index
	instances            map[digest.Digest]types.ImageReference // by their manifests
}

// NewImageSource opens the index and its images.
func (l listReference) NewImageSource(ctx context.Context, sys *types.SystemContext) (types.ImageSource, error) {
	index, err := l.ImageReference.NewImageSource(ctx, sys)
	if err != nil {
		return nil, err
	}
	src := &listSource{ImageSource: index, instances: map[digest.Digest]types.ImageSource{}, blobs: map[digest.Digest]types.ImageSource{}}
	if err := src.open(ctx, sys, l); err != nil {
		return nil, errors.Join(err, src.Close())
	}
	return src, nil
}

// listSource reads the images of an index beside the index.
type listSource struct {
	types.ImageSource
	instances map[digest.Digest]types.ImageSource // by their manifests
	blobs     map[digest.Digest]types.ImageSource // which of them has a layer or configuration
	opened    []types.ImageSource
}

// open opens the images.
func (s *listSource) open(ctx context.Context, sys *types.SystemContext, l listReference) (err error) {
	for d, ref := range l.instances {
		src, err := ref.NewImageSource(ctx, sys)
		if err != nil {
			return err
		}
		s.opened = append(s.opened, src)
		if err := s.learn(ctx, src, d); err != nil {
			return err
		}
	}
	return nil
}

// learn notes what an image has.
func (s *listSource) learn(ctx context.Context, src types.ImageSource, instance digest.Digest) error {
	raw, kind, err := src.GetManifest(ctx, &instance)
	if err != nil {
		return err
	}
	m, err := manifest.FromBlob(raw, kind)
	if err != nil {
		return err
	}
	layers, err := src.LayerInfosForCopy(ctx, &instance)
	if err != nil {
		return err
	}
	s.instances[instance] = src
	s.blobs[m.ConfigInfo().Digest] = src
	for _, l := range layers {
		s.blobs[l.Digest] = src
	}
	return nil
}

// of is the source of an image.
func (s *listSource) of(instance *digest.Digest) (types.ImageSource, error) {
	src, ok := s.instances[*instance]
	if !ok {
		return nil, fmt.Errorf("%w: %s of the index", ErrNotFound, instance)
	}
	return src, nil
}

// GetManifest is that of types.ImageSource, as all that follow.
func (s *listSource) GetManifest(ctx context.Context, instance *digest.Digest) ([]byte, string, error) {
	if instance == nil {
		return s.ImageSource.GetManifest(ctx, nil)
	}
	src, err := s.of(instance)
	if err != nil {
		return nil, "", err
	}
	return src.GetManifest(ctx, instance)
}

func (s *listSource) GetSignatures(ctx context.Context, instance *digest.Digest) ([][]byte, error) {
	if instance == nil {
		return nil, nil // an index of the store has none
	}
	src, err := s.of(instance)
	if err != nil {
		return nil, err
	}
	return src.GetSignatures(ctx, instance)
}

func (s *listSource) LayerInfosForCopy(ctx context.Context, instance *digest.Digest) ([]types.BlobInfo, error) {
	if instance == nil {
		return nil, nil
	}
	src, err := s.of(instance)
	if err != nil {
		return nil, err
	}
	return src.LayerInfosForCopy(ctx, instance)
}

func (s *listSource) GetBlob(ctx context.Context, info types.BlobInfo, cache types.BlobInfoCache) (io.ReadCloser, int64, error) {
	src, ok := s.blobs[info.Digest]
	if !ok {
		return nil, 0, fmt.Errorf("%w: the blob %s of the index", ErrNotFound, info.Digest)
	}
	return src.GetBlob(ctx, info, cache)
}

func (s *listSource) Close() error {
	err := s.ImageSource.Close()
	for _, src := range s.opened {
		err = errors.Join(err, src.Close())
	}
	return err
}
