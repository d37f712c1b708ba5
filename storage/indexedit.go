//go:build linux

package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/manifest"
	cs "go.podman.io/storage"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/imageindex"
	"github.com/oakum-build/oakum/storage/imageref"
	"github.com/oakum-build/oakum/storage/registry"
)

// draft is an index that is being made.
type draft struct {
	list imgspec.Index
	at   map[digest.Digest]string // as instancesKey has it
	ids  map[digest.Digest]string // of those in the store
	opts cs.ImageOptions
}

func newDraft(docker bool, annotations map[string]string) *draft {
	d := &draft{at: map[digest.Digest]string{}, ids: map[digest.Digest]string{}}
	d.list = imgspec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspec.MediaTypeImageIndex,
		Manifests: []imgspec.Descriptor{}, Annotations: annotations,
	}
	if docker {
		d.list.MediaType = manifest.DockerV2ListMediaType
	}
	d.opts.Metadata = "{}"
	return d
}

// add adds an image, or changes what is said of it.
func (d *draft) add(m member) {
	d.at[m.Digest] = m.at
	if m.id != "" {
		d.ids[m.Digest] = m.id
	}
	if m.created.After(d.opts.CreationDate) {
		d.opts.CreationDate = m.created
	}
	for i, have := range d.list.Manifests {
		if have.Digest == m.Digest {
			if m.Annotations == nil {
				m.Annotations = have.Annotations
			}
			d.list.Manifests[i] = m.Descriptor
			return
		}
	}
	d.list.Manifests = append(d.list.Manifests, m.Descriptor)
}

// commitDraft writes an index, and gives it names.
func (s *Store) commitDraft(d *draft, names []string) (Image, error) {
	raw, err := json.Marshal(d.list)
	if err != nil {
		return Image{}, err
	}
	refs, err := json.Marshal(d.at)
	if err != nil {
		return Image{}, err
	}
	if err := s.pin(d, names); err != nil {
		return Image{}, err
	}
	d.opts.Digest = digest.FromBytes(raw)
	d.opts.BigData = []cs.ImageBigDataOption{
		{Key: cs.ImageDigestManifestBigDataNamePrefix + "-" + d.opts.Digest.String(), Data: raw, Digest: d.opts.Digest},
		{Key: cs.ImageDigestBigDataKey, Data: raw, Digest: d.opts.Digest},
		{Key: instancesKey, Data: refs, Digest: digest.FromBytes(refs)},
	}
	return s.createIndex(&d.opts, names)
}

// EditIndex changes the index of a name or an id, or makes it, as the Edit says. What it is then is
// another index, which has the name, or all those of the id; the one before goes when it has none
// left. Images that it has no more
// stay in the store. Two changes at once, by several processes too, are done one after the other.
func (s *Store) EditIndex(ctx context.Context, ref string, e imageindex.Edit, a registry.Access) (Image, error) {
	var added []member
	for _, m := range e.Add {
		if digest.Digest(m.Ref).Validate() == nil { // what is said of one is changed below
			added = append(added, member{Descriptor: imgspec.Descriptor{Digest: digest.Digest(m.Ref), Platform: m.Platform, Annotations: m.Annotations}})
			continue
		}
		found, err := s.members(ctx, []imageindex.Member{m}, a)
		if err != nil {
			return Image{}, err
		}
		added = append(added, found...)
	}
	unlock, err := s.lockIndexes()
	if err != nil {
		return Image{}, err
	}
	defer unlock()
	old, d, names, err := s.draft(ref, e)
	if err != nil {
		return Image{}, err
	}
	if err := d.edit(e, added); err != nil {
		return Image{}, fmt.Errorf("%s: %w", ref, err)
	}
	img, err := s.commitDraft(d, names)
	if err != nil || old == nil || old.ID == img.ID {
		return img, err
	}
	return img, s.supersede(old, d, names)
}

// lockIndexes keeps others from changing an index.
func (s *Store) lockIndexes() (unlock func(), err error) {
	f, err := s.private.OpenFile("indexes.lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flock(f, unix.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = closeLock(f) }, nil
}

// draft begins an Edit with the index that there is, or with a new one.
func (s *Store) draft(ref string, e imageindex.Edit) (old *cs.Image, d *draft, names []string, err error) {
	name := ref
	if e.Make != "" {
		if name, err = imageref.Canonical(ref); err != nil {
			return nil, nil, nil, err
		}
	}
	old, err = s.find(name)
	switch {
	case err != nil && (!errors.Is(err, ErrNotFound) || e.Make == ""):
		return nil, nil, nil, err
	case err == nil && e.Make == "new":
		return nil, nil, nil, fmt.Errorf("%w: %s is there already; change or replace it, or remove it first", ErrInUse, ref)
	case err == nil && e.Make != "replace" && !isIndex(old):
		return nil, nil, nil, fmt.Errorf("%w: %s is an image, not an index", ErrInUse, ref)
	case err == nil && e.Make == "replace" && isIndex(old):
		return old, newDraft(e.Docker, nil), []string{name}, nil
	case err != nil || e.Make == "replace":
		return nil, newDraft(e.Docker, nil), []string{name}, nil
	}
	if d, err = s.read(old); err != nil {
		return nil, nil, nil, err
	}
	if named, err := s.matchingName(old, name); err == nil {
		return old, d, []string{named}, nil // who else has it, by another name, keeps it
	}
	return old, d, old.Names, nil
}

// read makes a draft of an index.
func (s *Store) read(img *cs.Image) (*draft, error) {
	entries, err := s.readIndex(img)
	if err != nil {
		return nil, err
	}
	d := newDraft(false, nil)
	raw, err := s.cs.ImageBigData(img.ID, cs.ImageDigestBigDataKey)
	if err == nil {
		err = json.Unmarshal(raw, &d.list)
	}
	if err != nil {
		return nil, fmt.Errorf("the index %s: %w", img.ID, err)
	}
	d.opts.CreationDate = img.Created
	for _, e := range entries {
		d.at[e.Digest] = e.From
		if e.ID != "" {
			d.ids[e.Digest] = e.ID
			if d.at[e.Digest], err = s.memberAt(e.ID); err != nil {
				return nil, err
			}
		}
	}
	return d, nil
}

// edit does what an Edit says.
func (d *draft) edit(e imageindex.Edit, added []member) error {
	for _, gone := range e.Remove {
		is := func(m imgspec.Descriptor) bool { return m.Digest == gone }
		if !slices.ContainsFunc(d.list.Manifests, is) {
			return fmt.Errorf("%w: the index has no %s", ErrNotFound, gone)
		}
		d.list.Manifests = slices.DeleteFunc(d.list.Manifests, is)
		delete(d.at, gone)
		delete(d.ids, gone)
	}
	for _, m := range added {
		if m.at == "" {
			i := slices.IndexFunc(d.list.Manifests, func(have imgspec.Descriptor) bool { return have.Digest == m.Digest })
			if i < 0 {
				return fmt.Errorf("%w: the index has no %s", ErrNotFound, m.Digest)
			}
			is := d.list.Manifests[i]
			is.Platform = imageindex.Member{Platform: m.Platform}.Said(is.Platform)
			if m.Annotations != nil {
				is.Annotations = m.Annotations
			}
			m.Descriptor, m.at = is, d.at[m.Digest]
		}
		d.add(m)
	}
	if len(e.Annotations) > 0 {
		all := maps.Clone(e.Annotations)
		for name, text := range d.list.Annotations {
			if _, set := all[name]; !set {
				all[name] = text
			}
		}
		d.list.Annotations = all
	}
	annotated := len(d.list.Annotations) > 0 || slices.ContainsFunc(d.list.Manifests, func(m imgspec.Descriptor) bool { return len(m.Annotations) > 0 })
	if annotated && d.list.MediaType == manifest.DockerV2ListMediaType {
		return errors.New("lists of the format docker have no annotations")
	}
	return nil
}

// supersede removes an index that an Edit has made another one of. Images that only the old one had
// lose what they were called for it, and stay.
func (s *Store) supersede(old *cs.Image, now *draft, names []string) error {
	entries, err := s.readIndex(old)
	if err != nil {
		return err
	}
	s.releaseUnused()
	if err := s.removing(func(inUse func(string) *note) error { return s.remove(old.ID, true, inUse) }); err != nil && !errors.Is(err, cs.ErrImageUnknown) {
		if errors.Is(err, ErrInUse) { // it has another name
			return nil
		}
		return err
	}
	of, err := s.indexesOf()
	if err != nil {
		return err
	}
	for _, m := range entries {
		if m.ID == "" || now.ids[m.Digest] != "" || len(of[m.ID]) > 0 {
			continue
		}
		if err := s.cs.RemoveNames(m.ID, pins(names, m.Digest)); err != nil && !errors.Is(err, cs.ErrImageUnknown) {
			return err
		}
	}
	return nil
}
