//go:build linux

package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
	cs "go.podman.io/storage"

	"github.com/oakum-build/oakum/storage/imageindex"
	"github.com/oakum-build/oakum/storage/platform"
	"github.com/oakum-build/oakum/storage/registry"
)

// An index is an image of the store without layers, whose manifest is an index (OCI image index, or
// Docker's manifest list). Beside that it has, as those have that podman manifest and buildah
// manifest make, the references of its images by the digests of their manifests. As long as an index
// has them they are not removed here. Podman's prune removes images without a name, whatever has them:
// so each gets one that is true, of the index's and its own digest, NAME@sha256:...

// instancesKey is the name under which an index has the references of its images.
const instancesKey = "instances.json"

// isIndex says that an image is an index. It reads nothing.
func isIndex(img *cs.Image) bool {
	return img.TopLayer == "" && slices.Contains(img.BigDataNames, instancesKey)
}

// CommitIndex writes an index with the names, format and annotations of c. An index that is there
// already, byte for byte, only gets the names.
func (s *Store) CommitIndex(ctx context.Context, list []imageindex.Member, c Commit, a registry.Access) (Image, error) {
	names, err := canonicalAll(c.Names)
	if err != nil {
		return Image{}, err
	}
	found, err := s.members(ctx, list, a)
	if err != nil {
		return Image{}, err
	}
	d := newDraft(c.Docker, c.Annotations)
	for _, m := range found {
		d.add(m)
	}
	return s.commitDraft(d, names)
}

// pin gives the images of an index names by their digests.
func (s *Store) pin(d *draft, names []string) error {
	if len(names) == 0 {
		return nil
	}
	added, st := false, &naming{Store: s.cs, of: s}
	for digest, id := range d.ids {
		unnamed, err := st.addNames(id, pins(names[:1], digest))
		if err != nil {
			return fmt.Errorf("naming image %s: %w", id, err)
		}
		added = added || unnamed
	}
	if added {
		time.Sleep(settled) // createIndex looks whether they are still there
	}
	return nil
}

// pins are the names that an image gets for those of its index.
func pins(names []string, d digest.Digest) []string {
	var out []string
	for _, name := range names {
		if named, err := reference.ParseNormalizedNamed(name); err == nil {
			out = append(out, reference.TrimNamed(named).Name()+"@"+d.String())
		}
	}
	return out
}

// unpinned are the names of an image that it has not for an index.
func unpinned(names []string, of *cs.Image, d digest.Digest) []string {
	pinned := append(pins(of.Names, d), pins(of.NamesHistory, d)...)
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(pinned, name) })
}

// createIndex gives an index the id that its content has.
func (s *Store) createIndex(opts *cs.ImageOptions, names []string) (Image, error) {
	id, st := opts.Digest.Encoded(), &naming{Store: s.cs, names: names, of: s}
	if _, err := st.CreateImage(id, nil, "", opts.Metadata, opts); err != nil && !errors.Is(err, cs.ErrDuplicateID) {
		return Image{}, fmt.Errorf("writing the index %s: %w", id, err)
	}
	img, err := s.name(st, id)
	if err != nil {
		return Image{}, err
	}
	for _, m := range img.Index {
		if m.ID == "" && m.From == "" { // another program has removed it before the index was there
			return Image{}, fmt.Errorf("%w: %s of the index %s", ErrRemoved, m.Digest, id)
		}
	}
	return img, nil
}

// described is the platform of an image, as an index tells it.
func (d Detail) described() (*imgspec.Platform, error) {
	var config struct{ imgspec.Platform }
	if err := json.Unmarshal(d.Config, &config); err != nil {
		return nil, fmt.Errorf("configuration of image %s: %w", d.ID, err)
	}
	return &config.Platform, nil
}

// indexImage completes what an index is.
func (s *Store) indexImage(out Image, img *cs.Image) (Image, error) {
	var err error
	if out.Index, err = s.readIndex(img); err != nil {
		return out, err
	}
	for _, m := range out.Index {
		if m.ID == "" {
			continue
		}
		instance, err := s.catalog.Image(m.ID)
		if err != nil {
			continue // it is just being removed
		}
		size, err := s.image(instance)
		if err != nil {
			return out, err
		}
		out.Size += size.Size
	}
	return out, nil
}

// readIndex gives the images of an index.
func (s *Store) readIndex(img *cs.Image) ([]imageindex.Entry, error) {
	raw, err := s.catalog.ImageBigData(img.ID, cs.ImageDigestBigDataKey)
	if err != nil {
		return nil, fmt.Errorf("reading the index %s: %w", img.ID, err)
	}
	var list imgspec.Index
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("the index %s: %w", img.ID, err)
	}
	at := map[digest.Digest]string{}
	if raw, err = s.catalog.ImageBigData(img.ID, instancesKey); err == nil {
		err = json.Unmarshal(raw, &at)
	}
	if err != nil {
		return nil, fmt.Errorf("where the images of the index %s are: %w", img.ID, err)
	}
	instances := []imageindex.Entry{}
	for _, m := range list.Manifests {
		i := imageindex.Entry{Descriptor: m}
		if found, err := s.catalog.ImagesByDigest(m.Digest); err == nil && len(found) > 0 {
			i.ID = found[0].ID
		} else if strings.HasPrefix(at[m.Digest], inRegistry) {
			i.From = at[m.Digest]
		}
		instances = append(instances, i)
	}
	return instances, nil
}

// Choose gives the image of an index for a platform, this machine's with the zero value. It
// is an error that matches ErrNotFound when the index or the store has none.
func (s *Store) Choose(of Image, p platform.Platform) (Detail, error) {
	id, instead := imageindex.Choose(of.Index, p)
	if id == "" {
		return Detail{}, fmt.Errorf("%w: %s", ErrNotFound, instead)
	}
	return s.Inspect(id)
}

// InspectFor is Inspect, but of an index it gives the image for a platform, as Choose does.
func (s *Store) InspectFor(ref string, p platform.Platform) (Detail, error) {
	d, err := s.Inspect(ref)
	if err != nil || d.Index == nil {
		return d, err
	}
	if d, err = s.Choose(d.Image, p); err != nil {
		err = fmt.Errorf("%s: %w", ref, err)
	}
	return d, err
}

// indexesOf are the ids of the indexes that have an image, by its id.
func (s *Store) indexesOf() (map[string][]string, error) {
	all, err := s.cs.Images()
	if err != nil {
		return nil, err
	}
	of := map[string][]string{}
	for i := range all {
		if !isIndex(&all[i]) {
			continue
		}
		instances, err := s.readIndex(&all[i])
		if errors.Is(err, cs.ErrImageUnknown) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, m := range instances {
			if m.ID != "" {
				of[m.ID] = append(of[m.ID], all[i].ID)
			}
		}
	}
	return of, nil
}

// freed are those images of an index that has just been removed for which there is no reason to
// stay: they have no name of their own and are in no other index. The others lose what they were
// called for this one.
func (s *Store) freed(from *cs.Image, instances []imageindex.Entry) ([]string, error) {
	of, err := s.indexesOf()
	if err != nil {
		return nil, err
	}
	var free []string
	for _, m := range instances {
		img, err := s.cs.Image(m.ID)
		if err != nil || slices.Contains(free, m.ID) {
			continue
		}
		own := unpinned(img.Names, from, m.Digest)
		if len(own) == 0 && len(of[m.ID]) == 0 {
			free = append(free, m.ID)
			continue
		}
		for _, id := range of[m.ID] {
			if other, err := s.cs.Image(id); err == nil {
				own = append(own, pins(other.Names, m.Digest)...)
			}
		}
		gone := slices.DeleteFunc(slices.Clone(img.Names), func(name string) bool { return slices.Contains(own, name) })
		if len(gone) > 0 {
			if err := s.cs.RemoveNames(m.ID, gone); err != nil {
				return free, err
			}
		}
	}
	return free, nil
}

// useWhole uses an image, and with an index all images that it has, until done is called.
func (s *Store) useWhole(img *cs.Image) (done func(), err error) {
	images := []*cs.Image{img}
	if isIndex(img) {
		instances, err := s.readIndex(img)
		if err != nil {
			return nil, err
		}
		for _, m := range instances {
			if m.ID == "" && m.From != "" {
				continue
			}
			if m.ID == "" {
				return nil, fmt.Errorf("%w: %s for %s, which the index has", ErrNotFound, m.Digest, m.For())
			}
			instance, err := s.cs.Image(m.ID)
			if err != nil {
				return nil, fmt.Errorf("image %s: %w", m.ID, err)
			}
			images = append(images, instance)
		}
	}
	var uses []*Use
	done = func() {
		for _, u := range uses {
			u.Close()
		}
	}
	for _, img := range images {
		u, err := s.useImage(img)
		if err != nil {
			done()
			return nil, err
		}
		uses = append(uses, u)
	}
	return done, nil
}
