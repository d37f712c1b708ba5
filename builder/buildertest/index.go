package buildertest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	godigest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/builder/internal/protocol"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/imageindex"
	"github.com/oakum-build/oakum/storage/platform"
)

func (s *server) commitIndex(q protocol.Commit) (storage.Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	made := newIndex(q.Docker)
	for _, m := range q.Images {
		if err := s.addMember(made, m); err != nil {
			return storage.Image{}, err
		}
	}
	return s.finishIndex(made, q.Annotations, q.Names)
}

func newIndex(docker bool) *image {
	made := &image{top: root}
	made.Manifest.MediaType, made.Index = imgspec.MediaTypeImageIndex, []imageindex.Entry{}
	if docker {
		made.Manifest.MediaType = "application/vnd.docker.distribution.manifest.list.v2+json"
	}
	return made
}

// addMember adds an image to an index, or changes what that says of it. The caller holds s.mu.
func (s *server) addMember(made *image, member imageindex.Member) error {
	at := slices.IndexFunc(made.Index, func(e imageindex.Entry) bool { return e.Digest.String() == member.Ref })
	if at < 0 && godigest.Digest(member.Ref).Validate() == nil {
		return fmt.Errorf("%w: the index has no %s", storage.ErrNotFound, member.Ref)
	}
	if at < 0 {
		img, err := s.find(member.Ref)
		if err != nil {
			return err
		}
		m := img.Manifest
		m.Platform = &imgspec.Platform{}
		if err := json.Unmarshal(img.config, m.Platform); err != nil {
			return err
		}
		made.Size += img.Size
		if img.Created.After(made.Created) {
			made.Created = img.Created
		}
		if at = slices.IndexFunc(made.Index, func(e imageindex.Entry) bool { return e.Digest == m.Digest }); at < 0 {
			at, made.Index = len(made.Index), append(made.Index, imageindex.Entry{Descriptor: m, ID: img.ID})
		}
	}
	made.Index[at].Platform = member.Said(made.Index[at].Platform)
	if member.Annotations != nil {
		made.Index[at].Annotations = member.Annotations
	}
	return nil
}

// finishIndex puts an index into the store. The caller holds s.mu.
func (s *server) finishIndex(made *image, annotations map[string]string, names []string) (storage.Image, error) {
	kind := made.Manifest.MediaType
	raw, err := json.Marshal(imgspec.Index{MediaType: kind, Annotations: annotations, Manifests: descriptors(made.Index)})
	if err != nil {
		return storage.Image{}, err
	}
	made.Digest, made.Annotations = godigest.FromBytes(raw), annotations
	made.ID = made.Digest.Encoded()
	made.Manifest = imgspec.Descriptor{MediaType: kind, Digest: made.Digest, Size: int64(len(raw))}
	if have := s.images[made.ID]; have != nil {
		made = have
	}
	s.images[made.ID] = made
	err = s.name(made, names...)
	return made.shown().Image, err
}

func (s *server) editIndex(ref string, edit imageindex.Edit) (storage.Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	made, old, names, err := s.startEdit(ref, edit)
	if err != nil {
		return storage.Image{}, err
	}
	for _, gone := range edit.Remove {
		at := slices.IndexFunc(made.Index, func(e imageindex.Entry) bool { return e.Digest == gone })
		if at < 0 {
			return storage.Image{}, fmt.Errorf("%w: the index has no %s", storage.ErrNotFound, gone)
		}
		made.Index = slices.Delete(made.Index, at, at+1)
	}
	for _, m := range edit.Add {
		if err := s.addMember(made, m); err != nil {
			return storage.Image{}, err
		}
	}
	annotations := maps.Clone(made.Annotations)
	if annotations == nil && len(edit.Annotations) > 0 {
		annotations = map[string]string{}
	}
	maps.Copy(annotations, edit.Annotations)
	out, err := s.finishIndex(made, annotations, names)
	if err == nil && old != nil && old.ID != out.ID && len(old.names) == 0 {
		delete(s.images, old.ID)
	}
	return out, err
}

// startEdit gives what an Edit begins with, the index before, and the names. The caller holds s.mu.
func (s *server) startEdit(ref string, edit imageindex.Edit) (made, old *image, names []string, err error) {
	old, err = s.find(ref)
	switch {
	case err != nil && edit.Make == "":
		return nil, nil, nil, err
	case err == nil && (edit.Make == "new" || edit.Make != "replace" && old.Index == nil):
		return nil, nil, nil, fmt.Errorf("%w: %s is there already", storage.ErrInUse, ref)
	case err != nil || edit.Make == "replace":
		return newIndex(edit.Docker), old, []string{ref}, nil
	}
	made = newIndex(false)
	made.Manifest, made.Index, made.Annotations = old.Manifest, slices.Clone(old.Index), old.Annotations
	made.Size, made.Created = old.Size, old.Created
	if strings.HasPrefix(old.ID, ref) {
		return made, old, slices.Clone(old.names), nil
	}
	return made, old, []string{ref}, nil
}

func descriptors(instances []imageindex.Entry) []imgspec.Descriptor {
	var list []imgspec.Descriptor
	for _, i := range instances {
		list = append(list, i.Descriptor)
	}
	return list
}

// choose gives the image of an index for a platform. The caller holds s.mu.
func (s *server) choose(img *image, p platform.Platform) (*image, error) {
	if img.Index == nil {
		return img, nil
	}
	id, instead := imageindex.Choose(img.Index, p)
	if s.images[id] == nil {
		return nil, fmt.Errorf("%w: %s", storage.ErrNotFound, instead)
	}
	return s.images[id], nil
}

// within are the indexes that have an image. The caller holds s.mu.
func (s *server) within(id string) (indexes []string) {
	for at, img := range s.images {
		if slices.ContainsFunc(img.Index, func(i imageindex.Entry) bool { return i.ID == id }) {
			indexes = append(indexes, at)
		}
	}
	slices.Sort(indexes)
	return indexes
}

// free removes the images of an index that is gone, unless they have names or another index has
// them. The caller holds s.mu.
func (s *server) free(from *image) (removed []string) {
	for _, i := range from.Index {
		if img := s.images[i.ID]; img != nil && len(img.names) == 0 && len(s.within(i.ID)) == 0 {
			delete(s.images, i.ID)
			removed = append(removed, i.ID)
		}
	}
	return removed
}

var errWithin = errors.New("an index has it; remove that first")
