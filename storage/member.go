//go:build linux

package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/image"
	"go.podman.io/image/v5/manifest"
	istorage "go.podman.io/image/v5/storage"
	"go.podman.io/image/v5/types"

	"github.com/oakum-build/oakum/storage/imageindex"
	"github.com/oakum-build/oakum/storage/imageref"
	"github.com/oakum-build/oakum/storage/platform"
	"github.com/oakum-build/oakum/storage/registry"
)

// inRegistry is how a reference to an image in a registry begins.
const inRegistry = "docker://"

// member is an image that an index is to have.
type member struct {
	imgspec.Descriptor
	at      string // its reference, as instancesKey has it
	id      string // in the store, or ""
	created time.Time
}

// members finds the images that an index is to have.
func (s *Store) members(ctx context.Context, list []imageindex.Member, a registry.Access) ([]member, error) {
	var all []member
	for _, m := range list {
		found, err := s.member(ctx, m, a)
		if err != nil {
			return nil, err
		}
		for i := range found {
			d := &found[i].Descriptor
			d.Platform = m.Said(d.Platform)
			if m.Annotations != nil {
				d.Annotations = m.Annotations
			}
		}
		all = append(all, found...)
	}
	return all, nil
}

func (s *Store) member(ctx context.Context, m imageindex.Member, a registry.Access) ([]member, error) {
	if name, remote := strings.CutPrefix(m.Ref, inRegistry); remote {
		named, err := reference.ParseNormalizedNamed(name)
		if err != nil {
			return nil, fmt.Errorf("%w %q: %w", imageref.ErrInvalid, m.Ref, err)
		}
		return s.remoteMember(ctx, reference.TagNameOnly(named), m.All, a)
	}
	if imageref.HasTransport(m.Ref) {
		return nil, fmt.Errorf("%w %q: an index has images of the store and of registries; oakum pull brings this one into the store", imageref.ErrInvalid, m.Ref)
	}
	d, err := s.Inspect(m.Ref)
	if err == nil {
		return s.localMember(d, m.All)
	}
	named, parsed := reference.ParseNormalizedNamed(m.Ref)
	if !errors.Is(err, ErrNotFound) || parsed != nil || reference.Domain(named) == "localhost" {
		return nil, err
	}
	sys, err := s.systemContext(a)
	if err != nil {
		return nil, err
	}
	names, err := s.remoteNames(sys, m.Ref)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, named := range names {
		found, err := s.remoteMember(ctx, named, m.All, a)
		if err == nil || ctx.Err() != nil {
			return found, err
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// localMember is a member of the store, or with all those of an index there.
func (s *Store) localMember(d Detail, all bool) ([]member, error) {
	if d.Index != nil && all {
		var found []member
		for _, e := range d.Index {
			m := member{Descriptor: e.Descriptor, at: e.From, id: e.ID}
			if e.ID == "" && e.From == "" {
				return nil, fmt.Errorf("%w: %s for %s, which the index has", ErrNotFound, e.Digest, e.For())
			}
			if e.ID != "" {
				at, err := s.memberAt(e.ID)
				if err != nil {
					return nil, err
				}
				m.at = at
			}
			found = append(found, m)
		}
		return found, nil
	}
	if d.Index != nil {
		id, instead := imageindex.Choose(d.Index, platform.Platform{})
		if id == "" {
			return nil, fmt.Errorf("%w: %s; take all of its images, or name one by its digest", ErrNotFound, instead)
		}
		var err error
		if d, err = s.Inspect(id); err != nil {
			return nil, err
		}
	}
	at, err := s.memberAt(d.ID)
	if err != nil {
		return nil, err
	}
	m := member{Descriptor: d.Manifest, at: at, id: d.ID, created: d.Created}
	m.Platform, err = d.described()
	return []member{m}, err
}

// memberAt is the reference of an image of the store.
func (s *Store) memberAt(id string) (string, error) {
	ref, err := istorage.Transport.NewStoreReference(s.cs, nil, id)
	if err != nil {
		return "", fmt.Errorf("image %s: %w", id, err)
	}
	return imageref.OwnStore + ref.StringWithinTransport(), nil
}

// remoteMember is a member that stays in its registry, or with all those of an index there.
func (s *Store) remoteMember(ctx context.Context, named reference.Named, all bool, a registry.Access) (found []member, err error) {
	sys, err := s.systemContext(a)
	if err != nil {
		return nil, err
	}
	ref, err := docker.NewReference(named)
	if err != nil {
		return nil, fmt.Errorf("%w %q: %w", imageref.ErrInvalid, named, err)
	}
	var descriptors []imgspec.Descriptor
	err = registry.Transfer(ctx, sys, a, registry.Pulling, named, func(ctx context.Context, sys *types.SystemContext) (err error) {
		descriptors, err = remoteDescriptors(ctx, sys, ref, all)
		return err
	})
	for _, d := range descriptors {
		// What is a mirror's is in the registry too, so the name stays as it was asked for.
		found = append(found, member{Descriptor: d, at: inRegistry + reference.TrimNamed(named).Name() + "@" + d.Digest.String()})
	}
	return found, err
}

// remoteDescriptors reads what an index says of an image in a registry: its manifest, and its
// configuration unless an index there tells the platform.
func remoteDescriptors(ctx context.Context, sys *types.SystemContext, ref types.ImageReference, all bool) (_ []imgspec.Descriptor, err error) {
	src, err := ref.NewImageSource(ctx, sys)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	top := image.UnparsedInstance(src, nil)
	raw, kind, err := top.Manifest(ctx)
	if err != nil {
		return nil, err
	}
	if manifest.MIMETypeIsMultiImage(kind) {
		return listedDescriptors(sys, raw, kind, all)
	}
	img, err := image.FromUnparsedImage(ctx, sys, top)
	if err != nil {
		return nil, err
	}
	if kind != imgspec.MediaTypeImageManifest && kind != manifest.DockerV2Schema2MediaType {
		return nil, fmt.Errorf("its manifest is of the type %q, and an index has images of OCI's or of Docker's schema 2; pull it, and add it from the store", kind)
	}
	config, err := img.OCIConfig(ctx)
	if err != nil {
		return nil, err
	}
	return []imgspec.Descriptor{{MediaType: kind, Digest: digest.FromBytes(raw), Size: int64(len(raw)), Platform: &config.Platform}}, nil
}

// listedDescriptors are those of an index in a registry: all, or that for this machine.
func listedDescriptors(sys *types.SystemContext, raw []byte, kind string, all bool) ([]imgspec.Descriptor, error) {
	list, err := manifest.ListFromBlob(raw, kind) // which refuses what can be read in two ways
	if err != nil {
		return nil, err
	}
	var index imgspec.Index // Docker's has the same fields
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, err
	}
	var chosen digest.Digest
	if !all {
		if chosen, err = list.ChooseInstance(sys); err != nil {
			return nil, fmt.Errorf("%w; take all of its images, or name one by its digest", err)
		}
	}
	var found []imgspec.Descriptor
	for _, d := range index.Manifests {
		switch {
		case manifest.MIMETypeIsMultiImage(d.MediaType):
			return nil, fmt.Errorf("the index has another index, %s, where it should have an image", d.Digest)
		case all || d.Digest == chosen:
			found = append(found, d)
		}
	}
	if !all {
		found = found[:min(len(found), 1)]
	}
	return found, nil
}
