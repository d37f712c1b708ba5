//go:build linux

package storage

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/pkg/shortnames"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/types"
	cs "go.podman.io/storage"
	"go.podman.io/storage/pkg/homedir"
	"go.podman.io/storage/pkg/unshare"

	"github.com/oakum-build/oakum/storage/imageref"
	"github.com/oakum-build/oakum/storage/registry"
)

// idLength is how many digits the id of an image has.
const idLength = 64

// hexID says whether a text can be an id, or the beginning of one.
func hexID(text string) bool {
	return len(text) >= 3 && len(text) <= idLength && strings.Trim(text, "0123456789abcdef") == ""
}

// wholeID says whether a reference is an id that is not shortened, which cannot be a name.
func wholeID(ref string) bool {
	id := strings.TrimPrefix(ref, "sha256:")
	return len(id) == idLength && hexID(id)
}

// find looks an image up by name, short name, id, id prefix, name@digest or
// name:tag@digest, where the digest counts.
func (s *Store) find(ref string) (*cs.Image, error) {
	ref, _ = imageref.Unpin(strings.TrimPrefix(ref, imageref.OwnStore))
	if ref == "" {
		return nil, fmt.Errorf("%w: it is empty", imageref.ErrInvalid)
	}
	byID := strings.TrimPrefix(ref, "sha256:")
	if hexID(byID) {
		// Store.Image also takes id prefixes, and names as they stand.
		if img, err := s.catalog.Image(byID); err == nil {
			return img, nil
		}
	}
	if wholeID(ref) {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, ref)
	}
	if _, err := reference.Parse(ref); err != nil {
		return nil, fmt.Errorf("%w %q: %w", imageref.ErrInvalid, ref, err)
	}
	names, err := withAliases(s, registry.Access{}.SystemContext(), func(sys *types.SystemContext) ([]reference.Named, error) { return shortnames.ResolveLocally(sys, ref) })
	if err != nil {
		return nil, fmt.Errorf("looking up %q in registries.conf: %w", ref, err)
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
		return s.catalog.Image(reference.TagNameOnly(named).String())
	}
	images, err := s.catalog.ImagesByDigest(digested.Digest())
	if err != nil {
		return nil, err
	}
	for _, img := range images {
		for _, name := range slices.Concat(img.Names, img.NamesHistory) {
			if n, err := reference.ParseNormalizedNamed(name); err == nil && n.Name() == named.Name() {
				return img, nil
			}
		}
	}
	return nil, ErrNotFound
}

// remoteNames are the names under which ref may be in a registry: a full name itself, a
// short one by the aliases and search registries of registries.conf, or on Docker Hub when
// that says nothing. Nobody is asked which is meant: with the mode "enforcing", and with an
// empty list of registries, a short name that may be several is an error that names them.
func (s *Store) remoteNames(sys *types.SystemContext, ref string) ([]reference.Named, error) {
	if wholeID(ref) {
		return nil, fmt.Errorf("%w: %s: no registry knows images by their ids", ErrNotFound, ref)
	}
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return nil, fmt.Errorf("%w %q: %w", imageref.ErrInvalid, ref, err)
	}
	if !shortnames.IsShortName(ref) {
		return []reference.Named{reference.TagNameOnly(named)}, nil
	}
	mode, err := sysregistriesv2.GetShortNameMode(sys)
	if err != nil {
		return nil, fmt.Errorf("reading registries.conf: %w", err)
	}
	registries, origin, err := sysregistriesv2.UnqualifiedSearchRegistriesWithOrigin(sys)
	if err != nil {
		return nil, fmt.Errorf("reading registries.conf: %w", err)
	}
	quiet := *sys
	disabled := types.ShortNameModeDisabled // the mode in which all are given
	quiet.ShortNameMode = &disabled
	resolved, err := withAliases(s, &quiet, func(sys *types.SystemContext) (*shortnames.Resolved, error) { return shortnames.Resolve(sys, ref) })
	switch {
	case err != nil && len(registries) == 0 && origin == "":
		return []reference.Named{reference.TagNameOnly(named)}, nil
	case err != nil && len(registries) == 0:
		return nil, fmt.Errorf("%w %q: it names no registry, and %s lists none to search; write it in full, such as %s", imageref.ErrInvalid, ref, origin, reference.TagNameOnly(named))
	case err != nil:
		return nil, fmt.Errorf("looking up %q in registries.conf: %w", ref, err)
	}
	var names []reference.Named
	var choices []string
	for _, c := range resolved.PullCandidates {
		names, choices = append(names, c.Value), append(choices, c.Value.String())
	}
	if mode == types.ShortNameModeEnforcing && len(names) > 1 {
		return nil, fmt.Errorf("%w %q: it names no registry, and short-name-mode is enforcing in registries.conf; write which one is meant: %s", imageref.ErrInvalid, ref, strings.Join(choices, ", "))
	}
	return names, nil
}

// withAliases looks something up with the user's own aliases of short names, if there are any. Where their file
// or its lock can be neither read nor made, as with a home that is read-only, those of
// registries.conf alone count. Nothing is made outside of the store, not even a lock of what is not there.
func withAliases[T any](s *Store, sys *types.SystemContext, look func(*types.SystemContext) (T, error)) (T, error) {
	if hasAliases() {
		found, err := look(sys)
		if err == nil {
			return found, nil
		}
	}
	without := *sys
	without.UserShortNameAliasConfPath = filepath.Join(s.private.Name(), aliases)
	return look(&without)
}

// aliases is the name of a file of aliases of short names, see containers-registries.conf(5).
const aliases = "short-name-aliases.conf"

// hasAliases says whether there is a file of aliases that Podman has made for this user.
func hasAliases() bool {
	cache, err := "/var/cache", error(nil)
	if unshare.GetRootlessUID() != 0 {
		cache, err = homedir.GetCacheHome()
	}
	if err == nil {
		_, err = os.Stat(filepath.Join(cache, "containers", aliases))
	}
	return err == nil
}
