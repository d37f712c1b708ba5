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
	"github.com/opencontainers/image-spec/specs-go"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/manifest"
	cs "go.podman.io/storage"

	"github.com/oakum-build/oakum/storage/imageref"
)

func (s *Store) image(img *cs.Image) (Image, error) {
	out := Image{ID: img.ID, Digest: currentDigest(img), Names: img.Names, Created: img.Created, TopLayer: img.TopLayer}
	top, err := s.Layer(img.TopLayer)
	if err != nil {
		return out, fmt.Errorf("image %s: %w", img.ID, err)
	}
	for l := top; l != nil; l = l.Parent() {
		out.Size += max(l.Size(), 0)
	}
	if isIndex(img) {
		return s.indexImage(out, img)
	}
	return out, nil
}

// Images lists the images, the newest first, those of indexes without the names that they have for
// that. An image that another process is just
// removing is left out.
func (s *Store) Images() ([]Image, error) {
	all, err := s.cs.Images()
	if err != nil {
		return nil, err
	}
	out := make([]Image, 0, len(all))
	type part struct {
		index  *cs.Image
		digest digest.Digest
	}
	within := map[string][]part{}
	for i := range all {
		img, err := s.image(&all[i])
		if errors.Is(err, cs.ErrLayerUnknown) || errors.Is(err, cs.ErrImageUnknown) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, m := range img.Index {
			within[m.ID] = append(within[m.ID], part{&all[i], m.Digest})
		}
		out = append(out, img)
	}
	for i := range out {
		for _, p := range within[out[i].ID] {
			out[i].Within = append(out[i].Within, p.index.ID)
			out[i].Names = unpinned(out[i].Names, p.index, p.digest)
		}
	}
	slices.SortStableFunc(out, func(a, b Image) int { return b.Created.Compare(a.Created) })
	return out, nil
}

// Find looks an image up by name, short name, id, id prefix, or name@digest.
func (s *Store) Find(ref string) (Image, error) {
	img, err := s.find(ref)
	if err != nil {
		return Image{}, err
	}
	found, err := s.image(img)
	return found, s.unlessRemoved(ref, img, err)
}

// unlessRemoved is what went wrong with an image that was found, or that it is not there, when another process has
// removed it since.
func (s *Store) unlessRemoved(ref string, img *cs.Image, err error) error {
	if err == nil {
		return nil
	}
	if _, gone := s.catalog.Image(img.ID); errors.Is(gone, cs.ErrImageUnknown) {
		return fmt.Errorf("%w: %s", ErrNotFound, ref)
	}
	return err
}

// Inspect finds an image and reads its manifest and configuration. An index has none of the latter,
// and no layers.
func (s *Store) Inspect(ref string) (Detail, error) {
	img, err := s.find(ref)
	if err != nil {
		return Detail{}, err
	}
	d, err := s.detail(ref, img)
	return d, s.unlessRemoved(ref, img, err)
}

func (s *Store) detail(ref string, img *cs.Image) (d Detail, err error) {
	if d.Image, err = s.image(img); err != nil {
		return d, err
	}
	raw, err := s.catalog.ImageBigData(img.ID, cs.ImageDigestBigDataKey)
	if err != nil {
		return d, fmt.Errorf("reading the manifest of %s: %w", ref, err)
	}
	d.Manifest = imgspec.Descriptor{MediaType: manifest.GuessMIMEType(raw), Digest: d.Digest, Size: int64(len(raw))}
	if d.Annotations, err = annotationsOf(raw); err != nil {
		return d, fmt.Errorf("manifest of %s: %w", ref, err)
	}
	if d.Index != nil {
		return d, nil
	}
	m, err := manifest.FromBlob(raw, d.Manifest.MediaType)
	if err != nil {
		return d, fmt.Errorf("manifest of %s: %w", ref, err)
	}
	if d.Config, err = s.catalog.ImageBigData(img.ID, m.ConfigInfo().Digest.String()); err != nil {
		return d, fmt.Errorf("reading the configuration of %s: %w", ref, err)
	}
	top, err := s.Layer(img.TopLayer)
	if err != nil {
		return d, err
	}
	for l := top; l != nil; l = l.Parent() {
		d.Layers = append(d.Layers, l.DiffID())
		d.LayerSizes = append(d.LayerSizes, l.Size())
	}
	slices.Reverse(d.Layers)
	slices.Reverse(d.LayerSizes)
	return d, nil
}

// annotationsOf are those of a manifest.
func annotationsOf(raw []byte) (map[string]string, error) {
	var described struct{ Annotations map[string]string }
	err := json.Unmarshal(raw, &described)
	return described.Annotations, err
}

// Tag gives an image further names, taking them from the images that have them.
func (s *Store) Tag(ref string, names []string) error {
	img, err := s.find(ref)
	if err != nil {
		return err
	}
	full, err := canonicalAll(names)
	if err != nil {
		return err
	}
	return s.unlessRemoved(ref, img, s.addNames(img.ID, full...))
}

func canonicalAll(names []string) ([]string, error) {
	var full []string
	for _, n := range names {
		name, err := imageref.Canonical(n)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(full, name) {
			full = append(full, name)
		}
	}
	return full, nil
}

// Remove removes a name, and the image with it when that was the last one or when ref
// is an id. Without force an image that has several names is not removed by its id. With
// unnamed it must have no name. It fails with ErrInUse where a container or a running build
// uses the image, with force too.
func (s *Store) Remove(ref string, force, unnamed bool) (Removed, error) {
	s.makeRoom()
	img, err := s.find(ref)
	if err != nil {
		return Removed{}, err
	}
	id := strings.TrimPrefix(ref, "sha256:")
	byID := hexID(id) && strings.HasPrefix(img.ID, id)
	of, err := s.indexesOf()
	if err != nil {
		return Removed{}, err
	}
	if !byID && (len(img.Names) > 1 || len(of[img.ID]) > 0) {
		name, err := s.matchingName(img, ref)
		if err != nil {
			return Removed{}, err
		}
		return Removed{Untagged: []string{name}}, s.cs.RemoveNames(img.ID, []string{name})
	}
	if byID && len(img.Names) > 1 && !force {
		return Removed{}, severalNames(ref, img)
	}
	s.releaseUnused()
	var removed Removed
	err = s.removing(func(inUse func(string) *note) error {
		now, err := s.cs.Image(img.ID)
		if err != nil {
			return err
		}
		switch named := namedSince(img, now); {
		case named && !byID && len(img.Names) > 0: // it has several by now, or another one
			removed.Untagged = img.Names
			return s.cs.RemoveNames(img.ID, img.Names)
		case named && !force && !unnamed:
			return severalNames(ref, now)
		}
		removed.Untagged = now.Names
		removed.Deleted, err = s.removeWhole(now, unnamed, inUse)
		return err
	})
	if err != nil {
		return Removed{}, fmt.Errorf("removing %s: %w", ref, err)
	}
	return removed, nil
}

func severalNames(ref string, img *cs.Image) error {
	return fmt.Errorf("%w: %s has the names %v; remove them one by one, or use force", ErrInUse, ref, img.Names)
}

// namedSince says whether an image has got a name after it was looked up, as a build of the same image gives it one and
// reports that. Whoever removes it did not mean that name.
func namedSince(before, now *cs.Image) bool {
	return slices.ContainsFunc(now.Names, func(name string) bool { return !slices.Contains(before.Names, name) })
}

// removeWhole removes an image that no index has, and with an index those of its images that nobody
// else wants.
func (s *Store) removeWhole(img *cs.Image, unnamed bool, inUse func(layer string) *note) ([]string, error) {
	if !isIndex(img) {
		of, err := s.indexesOf()
		if err != nil {
			return nil, err
		}
		if ids := of[img.ID]; len(ids) > 0 {
			return nil, fmt.Errorf("%w: the index %.12s has it; remove that first", ErrInUse, ids[0])
		}
		return []string{img.ID}, s.remove(img.ID, unnamed, inUse)
	}
	instances, err := s.readIndex(img)
	if err != nil {
		return nil, err
	}
	if err := s.remove(img.ID, unnamed, inUse); err != nil {
		return nil, err
	}
	removed := []string{img.ID}
	free, err := s.freed(img, instances)
	for _, id := range free {
		switch err := s.remove(id, false, inUse); {
		case err == nil:
			removed = append(removed, id)
		case !errors.Is(err, ErrInUse): // what is in use stays, without a name
			return removed, err
		}
	}
	return removed, err
}

// remove removes an image that no container and no running build uses.
func (s *Store) remove(id string, unnamed bool, inUse func(layer string) *note) error {
	img, err := s.cs.Image(id)
	if err != nil {
		return err
	}
	if unnamed && len(img.Names) > 0 {
		return fmt.Errorf("%w: it has got the name %s", ErrInUse, img.Names[0])
	}
	containers, err := s.cs.Containers()
	if err != nil {
		return err
	}
	for _, c := range containers {
		if c.ImageID == img.ID {
			return fmt.Errorf("%w: %s uses it; remove that first, with podman rm or buildah rm", ErrInUse, describeContainer(c))
		}
	}
	layers, err := s.cs.DeleteImage(img.ID, false) // only says which layers would go
	if err != nil {
		return err
	}
	for _, id := range append(layers, img.TopLayer) {
		if n := inUse(id); n != nil {
			return fmt.Errorf("%w: %s is using it; try again when that has ended", ErrInUse, n)
		}
	}
	_, err = s.cs.DeleteImage(img.ID, true)
	err = removeDeleted(err)
	if errors.Is(err, cs.ErrImageUsedByContainer) {
		return fmt.Errorf("%w: %w", ErrInUse, err)
	}
	return err
}

// describeContainer names a container of Podman, Buildah or another program.
func describeContainer(c cs.Container) string {
	if len(c.Names) == 0 {
		return fmt.Sprintf("the container %.12s", c.ID)
	}
	return fmt.Sprintf("the container %s (%.12s)", c.Names[0], c.ID)
}

// matchingName is the one of an image's names that ref means.
func (s *Store) matchingName(img *cs.Image, ref string) (string, error) {
	ref, _ = imageref.Unpin(ref)
	for _, name := range img.Names {
		if named, err := s.cs.Image(name); err != nil || named.ID != img.ID {
			continue
		}
		if full, err := imageref.Canonical(ref); err == nil && full == name {
			return name, nil
		}
		if parsed, err := reference.ParseNormalizedNamed(ref); err == nil && reference.TagNameOnly(parsed).String() == name {
			return name, nil
		}
	}
	return "", fmt.Errorf("%w: %s", ErrNotFound, ref)
}

// Commit is an image to write.
type Commit struct {
	Top         *Layer
	Names       []string
	Config      func(diffIDs []digest.Digest, created []time.Time) (json.RawMessage, time.Time, error)
	Docker      bool              // Docker's media types instead of OCI's
	Annotations map[string]string // of an OCI manifest
}

// plannedImage is an image as Commit says that it is to be.
type plannedImage struct {
	top         string // layer
	names       []string
	config, raw []byte // raw is its manifest
	created     time.Time
}

// planImage finds what an image is to be whose layers are in the store.
func planImage(ctx context.Context, c Commit) (p plannedImage, err error) {
	if p.names, err = canonicalAll(c.Names); err != nil {
		return p, err
	}
	if err := c.Top.Wait(ctx); err != nil {
		return p, err
	}
	var layers []*Layer
	for l := c.Top; l != nil; l = l.Parent() {
		if l.Gone() {
			return p, fmt.Errorf("%w: the layer %s is not in the store", ErrNotFound, l.DiffID())
		}
		layers = append(layers, l)
	}
	slices.Reverse(layers)
	diffIDs, times := make([]digest.Digest, len(layers)), make([]time.Time, len(layers))
	for i, l := range layers {
		if l.DiffID() == "" {
			return p, fmt.Errorf("layer %s has no known digest: pull its image again without zstd:chunked", l.ID())
		}
		diffIDs[i], times[i] = l.DiffID(), l.Created()
	}
	p.top = c.Top.ID()
	if p.config, p.created, err = c.Config(diffIDs, times); err != nil {
		return p, err
	}
	p.raw, err = makeManifest(p.config, layers, c.Docker, c.Annotations)
	return p, err
}

// id is that of the image: of its configuration.
func (p *plannedImage) id() string { return digest.FromBytes(p.config).Encoded() }

// is says that an image of that id is the one, byte for byte.
func (p *plannedImage) is(img *cs.Image) bool {
	return img.TopLayer == p.top && currentDigest(img) == digest.FromBytes(p.raw)
}

// CommitImage writes an image over layers that are in the store. The layers are
// listed as uncompressed tars; they are compressed when they leave the machine. An
// image that is there already, byte for byte, only gets the names.
func (s *Store) CommitImage(ctx context.Context, c Commit) (Image, error) {
	p, err := planImage(ctx, c)
	if err != nil {
		return Image{}, err
	}
	img, err := s.createImage(p)
	if errors.Is(err, cs.ErrImageUnknown) {
		// It was there without a name, and was removed before it got one: it is made anew.
		img, err = s.createImage(p)
	}
	if err != nil {
		if gone := s.Intact(c.Top); gone != nil {
			return Image{}, gone
		}
	}
	return img, err
}

func (s *Store) createImage(p plannedImage) (Image, error) {
	configDigest, manifestDigest := digest.FromBytes(p.config), digest.FromBytes(p.raw)
	id, st := p.id(), &naming{Store: s.cs, names: p.names, of: s}
	if img, err := s.cs.Image(id); err == nil && p.is(img) {
		return s.name(st, id)
	}
	opts := &cs.ImageOptions{
		CreationDate: p.created,
		Digest:       manifestDigest,
		// What containers/image's storage transport keeps with an image.
		Metadata: "{}",
		BigData: []cs.ImageBigDataOption{
			{Key: configDigest.String(), Data: p.config, Digest: configDigest},
			{Key: cs.ImageDigestManifestBigDataNamePrefix + "-" + manifestDigest.String(), Data: p.raw, Digest: manifestDigest},
			{Key: cs.ImageDigestBigDataKey, Data: p.raw, Digest: manifestDigest},
		},
	}
	_, err := st.CreateImage(id, nil, p.top, "", opts)
	if errors.Is(err, cs.ErrDuplicateID) {
		err = s.addManifest(id, p.raw, manifestDigest)
	}
	if err != nil {
		return Image{}, fmt.Errorf("writing image %s: %w", id, err)
	}
	return s.name(st, id)
}

// name gives an image the names that it lacks, and reads what it is then.
func (s *Store) name(st *naming, id string) (Image, error) {
	if err := st.AddNames(id, st.names); err != nil {
		return Image{}, fmt.Errorf("naming image %s: %w", id, err)
	}
	img, err := s.cs.Image(id)
	if err != nil {
		return Image{}, fmt.Errorf("image %s: %w", id, err)
	}
	return s.image(img)
}

// currentDigest is that of the manifest that an image has now; the record's own stays
// that of its first.
func currentDigest(img *cs.Image) digest.Digest {
	if d, ok := img.BigDataDigests[cs.ImageDigestBigDataKey]; ok {
		return d
	}
	return img.Digest
}

// addManifest gives an image that is there already another manifest, as its first one:
// the same configuration, and so the same layers, in another format.
func (s *Store) addManifest(id string, raw []byte, d digest.Digest) error {
	for _, key := range []string{cs.ImageDigestManifestBigDataNamePrefix + "-" + d.String(), cs.ImageDigestBigDataKey} {
		if err := s.cs.SetImageBigData(id, key, raw, manifest.Digest); err != nil {
			return err
		}
	}
	return nil
}

func makeManifest(config []byte, layers []*Layer, docker bool, annotations map[string]string) ([]byte, error) {
	m := imgspec.Manifest{
		Versioned:   specs.Versioned{SchemaVersion: 2},
		MediaType:   imgspec.MediaTypeImageManifest,
		Config:      imgspec.Descriptor{MediaType: imgspec.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config))},
		Layers:      []imgspec.Descriptor{},
		Annotations: annotations,
	}
	layerType := imgspec.MediaTypeImageLayer
	if docker {
		m.MediaType, m.Config.MediaType = manifest.DockerV2Schema2MediaType, manifest.DockerV2Schema2ConfigMediaType
		layerType = manifest.DockerV2SchemaLayerMediaTypeUncompressed
	}
	for _, l := range layers {
		m.Layers = append(m.Layers, imgspec.Descriptor{MediaType: layerType, Digest: l.DiffID(), Size: l.Size()})
	}
	return json.Marshal(m)
}
