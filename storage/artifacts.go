//go:build linux

package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"go.podman.io/image/v5/types"

	"github.com/oakum-build/oakum/storage/artifact"
	"github.com/oakum-build/oakum/storage/internal/policy"
	"github.com/oakum-build/oakum/storage/registry"
	"github.com/oakum-build/oakum/storage/remotecache"
)

// WriteArtifact begins an artifact at a place, to which it takes the place of the one that is there.
func (s *Store) WriteArtifact(ctx context.Context, to remotecache.At, a registry.Access) (*artifact.Writer, error) {
	w := &artifact.Writer{}
	var err error
	w.End, err = s.artifactEnd(ctx, to, a.Moving(to.String(), true), registry.PushingTo)
	if err != nil {
		return nil, err
	}
	if to.Ref != "" {
		var ref types.ImageReference
		if ref, err = destination(to.Ref, false); err == nil {
			w.To, err = ref.NewImageDestination(ctx, w.Session.System())
		}
	} else {
		var place remotecache.Place
		var temp string
		if temp, err = s.bigFilesDir(); err == nil {
			place, w.Done, err = openPlace(to, true)
			w.To = remotecache.Destination(place, to, temp)
		}
	}
	if err != nil {
		if w.Session != nil {
			w.Session.Close()
		}
		return nil, fmt.Errorf("writing to %s: %w", to, err)
	}
	return w, nil
}

// ReadArtifact opens the artifact at a place. There must be one, of a type.
func (s *Store) ReadArtifact(ctx context.Context, from remotecache.At, kind string, a registry.Access) (*artifact.Reader, error) {
	sys, err := s.systemContext(a)
	if err != nil {
		return nil, err
	}
	trust, err := policy.Read(sys)
	if err != nil {
		return nil, registry.Local(err)
	}
	end, err := s.artifactEnd(ctx, from, a.Moving(from.String(), false), registry.Pulling)
	if err != nil {
		return nil, err
	}
	var place remotecache.Place
	if from.Ref == "" {
		if place, end.Done, err = openPlace(from, false); err != nil {
			return nil, notThere(err)
		}
	}
	r, err := artifact.NewReader(ctx, end, kind, func(ctx context.Context) (types.ImageSource, error) {
		if place != nil {
			return remotecache.Source(place, from), nil
		}
		ref, err := destination(from.Ref, false)
		if err != nil {
			return nil, err
		}
		return ref.NewImageSource(ctx, end.Session.System())
	}, trust.Allow)
	return r, notThere(err)
}

// notThere gives an error of what is not there its kind.
func notThere(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return err
}

// artifactEnd opens the way to a registry, if the place is one.
func (s *Store) artifactEnd(ctx context.Context, at remotecache.At, a registry.Access, verb string) (artifact.End, error) {
	end := artifact.End{Name: at.String(), Access: a}
	if at.Ref == "" {
		return end, nil
	}
	named, err := cacheName(at.Ref)
	if err != nil {
		return end, err
	}
	sys, err := s.systemContext(a)
	if err == nil {
		end.Session, err = registry.Open(ctx, sys, a, verb, named)
	}
	return end, err
}

// WriteLayout writes a directory with an OCI image layout as a tar, whose bytes depend on what is in it alone.
func (s *Store) WriteLayout(ctx context.Context, out *os.File, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	return errors.Join(writeLayout(ctx, out, root), root.Close())
}
