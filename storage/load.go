//go:build linux

package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	dockerarchive "go.podman.io/image/v5/docker/archive"
	ocilayout "go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/types"

	"github.com/oakum-build/oakum/storage/imageref"
	"github.com/oakum-build/oakum/storage/platform"
	"github.com/oakum-build/oakum/storage/registry"
)

// LoadDocker copies all images of an archive that docker save has written into the store, with their names. The archive is
// not compressed.
func (s *Store) LoadDocker(ctx context.Context, path string, a registry.Access) (all []Image, err error) {
	sys, err := s.systemContext(a)
	if err != nil {
		return nil, err
	}
	r, err := dockerarchive.NewReader(sys, path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	images, err := r.List()
	if err != nil {
		return nil, err
	}
	for _, refs := range images {
		var names []string
		for _, ref := range refs {
			if named := ref.DockerReference(); named != nil {
				names = append(names, named.String())
			}
		}
		if len(refs) == 0 {
			continue
		}
		img, err := s.loadOne(ctx, sys, refs[0], names, a)
		if err != nil {
			return all, err
		}
		all = append(all, img)
	}
	return all, nil
}

// LoadLayout copies all images of an OCI image layout into the store, with their names; of an index the
// image for a platform.
func (s *Store) LoadLayout(ctx context.Context, dir string, p platform.Platform, a registry.Access) (all []Image, err error) {
	sys, err := s.systemContext(a)
	if err != nil {
		return nil, err
	}
	sys.OSChoice, sys.ArchitectureChoice, sys.VariantChoice = p.OS, p.Architecture, p.Variant
	raw, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		return nil, err
	}
	var index imgspec.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	// An image of several names is several times in the index.
	first, names := map[digest.Digest]int{}, map[digest.Digest][]string{}
	var order []digest.Digest
	for i, m := range index.Manifests {
		if _, has := first[m.Digest]; !has {
			first[m.Digest] = i
			order = append(order, m.Digest)
		}
		for _, key := range []string{containerdName, imgspec.AnnotationRefName} {
			if name, err := imageref.Canonical(m.Annotations[key]); err == nil {
				names[m.Digest] = append(names[m.Digest], name)
				break
			}
		}
	}
	for _, d := range order {
		ref, err := ocilayout.NewIndexReference(dir, first[d])
		if err != nil {
			return all, err
		}
		img, err := s.loadOne(ctx, sys, ref, names[d], a)
		if err != nil {
			return all, err
		}
		all = append(all, img)
	}
	return all, nil
}

// loadOne copies an image into the store and names it.
func (s *Store) loadOne(ctx context.Context, sys *types.SystemContext, src types.ImageReference, names []string, a registry.Access) (Image, error) {
	into := &adding{Store: s.cs, of: s}
	defer into.end()
	dest, err := s.referenceByID(ctx, sys, into, src)
	if err != nil {
		return Image{}, err
	}
	img, err := s.copyTo(ctx, sys, into, dest, src, a.Moving(strings.Join(names, ", "), false))
	if err != nil {
		return Image{}, err
	}
	if names, err = canonicalAll(names); err != nil {
		return Image{}, err
	}
	if len(names) > 0 {
		if err := s.addNames(img.ID, names...); err != nil {
			return Image{}, fmt.Errorf("naming image %s: %w", img.ID, err)
		}
	}
	return s.Find(img.ID)
}
