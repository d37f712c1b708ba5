//go:build linux

package storage

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/pkg/shortnames"
	"go.podman.io/image/v5/types"
	cs "go.podman.io/storage"
)

// Errors to branch on.
var (
	ErrNotFound  = errors.New("image not found")
	ErrReference = errors.New("invalid image reference")
	ErrInUse     = errors.New("image is in use")
	ErrRegistry  = errors.New("registry request failed")
)

var hexID = regexp.MustCompile(`^[0-9a-f]{3,64}$`)

// Canonical is the full name under which an image called name is stored: with a
// registry ("localhost" when it names none, as Buildah and Podman do) and a tag.
func Canonical(name string) (string, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", fmt.Errorf("%w %q: %w", ErrReference, name, err)
	}
	if _, digested := named.(reference.Digested); digested {
		return "", fmt.Errorf("%w %q: an image cannot be given a name with a digest", ErrReference, name)
	}
	if shortnames.IsShortName(name) {
		if named, err = reference.ParseNormalizedNamed("localhost/" + name); err != nil {
			return "", fmt.Errorf("%w %q: %w", ErrReference, name, err)
		}
	}
	return reference.TagNameOnly(named).String(), nil
}

// find looks an image up by name, short name, id, id prefix, name@digest or
// name:tag@digest, where the digest counts.
func (s *Store) find(ref string) (*cs.Image, error) {
	ref, _ = unpin(ref)
	if ref == "" {
		return nil, fmt.Errorf("%w: it is empty", ErrReference)
	}
	byID := strings.TrimPrefix(ref, "sha256:")
	if hexID.MatchString(byID) {
		// Store.Image also takes id prefixes, and names as they stand.
		if img, err := s.cs.Image(byID); err == nil {
			return img, nil
		}
	}
	names, err := shortnames.ResolveLocally(&types.SystemContext{}, ref)
	if err != nil {
		return nil, fmt.Errorf("%w %q: %w", ErrReference, ref, err)
	}
	// The first names are of localhost; docker.io is there without configuration.
	if named, err := reference.ParseNormalizedNamed(ref); err == nil {
		names = append(names, named)
	}
	for _, named := range names {
		if img, err := s.findNamed(named); err == nil {
			return img, nil
		}
	}
	return nil, fmt.Errorf("%w: %s", ErrNotFound, ref)
}

func (s *Store) findNamed(named reference.Named) (*cs.Image, error) {
	digested, ok := named.(reference.Digested)
	if !ok {
		return s.cs.Image(reference.TagNameOnly(named).String())
	}
	images, err := s.cs.ImagesByDigest(digested.Digest())
	if err != nil {
		return nil, err
	}
	for _, img := range images {
		for _, name := range append(img.Names, img.NamesHistory...) {
			if n, err := reference.ParseNormalizedNamed(name); err == nil && n.Name() == named.Name() {
				return img, nil
			}
		}
	}
	return nil, ErrNotFound
}

// remoteNames are the names under which ref may be in a registry: a full name itself,
// a short one by registries.conf, or on Docker Hub when that says nothing.
func remoteNames(sys *types.SystemContext, ref string) ([]reference.Named, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return nil, fmt.Errorf("%w %q: %w", ErrReference, ref, err)
	}
	if !shortnames.IsShortName(ref) {
		return []reference.Named{reference.TagNameOnly(named)}, nil
	}
	resolved, err := shortnames.Resolve(sys, ref)
	if err != nil || len(resolved.PullCandidates) == 0 {
		return []reference.Named{reference.TagNameOnly(named)}, nil
	}
	var names []reference.Named
	for _, c := range resolved.PullCandidates {
		names = append(names, c.Value)
	}
	return names, nil
}
