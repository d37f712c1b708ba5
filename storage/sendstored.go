//go:build linux

package storage

import (
	"context"
	"io"

	digest "github.com/opencontainers/go-digest"
	istorage "go.podman.io/image/v5/storage"
	"go.podman.io/image/v5/types"
)

// storedReference is an image of the store as it is sent. containers/image would write the tar of each layer
// to a temporary file first, so as not to keep the store locked while that is read.
type storedReference struct {
	types.ImageReference
	of *Store
	id string
}

func (s *Store) stored(id string) (types.ImageReference, error) {
	ref, err := istorage.Transport.NewStoreReference(s.cs, nil, id)
	return storedReference{ref, s, id}, err
}

// NewImageSource opens the image.
func (r storedReference) NewImageSource(ctx context.Context, sys *types.SystemContext) (types.ImageSource, error) {
	src, err := r.ImageReference.NewImageSource(ctx, sys)
	if err != nil {
		return nil, err
	}
	return &storedSource{src, r}, nil
}

type storedSource struct {
	types.ImageSource
	ref storedReference
}

// GetBlob is that of types.ImageSource.
func (s *storedSource) GetBlob(ctx context.Context, info types.BlobInfo, cache types.BlobInfoCache) (io.ReadCloser, int64, error) {
	l, err := s.layer(info.Digest)
	if err == nil && l != nil {
		tar, err := s.ref.of.openOwnTar(l)
		if tar != nil || err != nil {
			return tar, l.Size(), err
		}
	}
	if err != nil {
		return nil, 0, err
	}
	return s.ImageSource.GetBlob(ctx, info, cache)
}

// layer finds a layer of the image; nil is what is none, as its configuration.
func (s *storedSource) layer(diffID digest.Digest) (*Layer, error) {
	img, err := s.ref.of.cs.Image(s.ref.id)
	if err != nil {
		return nil, err
	}
	l, err := s.ref.of.Layer(img.TopLayer)
	for l != nil && l.DiffID() != diffID {
		l = l.Parent()
	}
	return l, err
}
