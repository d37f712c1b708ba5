package builder

import (
	"context"
	"errors"
	"fmt"

	"github.com/oakum-build/oakum/builder/internal/protocol"
	"github.com/oakum-build/oakum/storage/imageindex"
)

// CommitIndex writes an index of images (package builder/index) under name (which may be "") and
// opts.Names. The images should be for different platforms. While those of the store are in an index they need no
// names of their own and cannot be removed; Remove of the index removes those that have none. Of
// opts, Names, Format and Annotations count.
func (b *Builder) CommitIndex(ctx context.Context, name string, images []imageindex.Member, opts CommitOptions) (Image, error) {
	if err := checkFormat(opts.Format); err != nil {
		return Image{}, err
	}
	if len(images) == 0 {
		return Image{}, fmt.Errorf("%w: an index needs images", ErrInvalid)
	}
	docker := opts.Format == "docker"
	if err := checkMembers(images, opts.Annotations, docker); err != nil {
		return Image{}, err
	}
	names := opts.Names
	if name != "" {
		names = append([]string{name}, names...)
	}
	out, err := call(ctx, b, protocol.Commit{Names: names, Images: images, Docker: docker, Annotations: opts.Annotations, Access: b.opts.Registry.access()})
	return image(out), err
}

// EditIndex changes an index of the store, named by ref, or makes one, as edit says, and gives what it is
// then: another one, which has the name, or with an id all names; other names stay with the one before. Images that it has no more stay in the store. Of a
// member that stays in a registry only the manifest and the configuration are read. reg is how registries are reached; the zero value
// is the Builder's. Edits of one index at once, by other processes too, are done one after the other. Without
// an index, or of an image that it has not, the error matches ErrImageNotFound; a name that is taken is
// ErrInUse.
func (b *Builder) EditIndex(ctx context.Context, ref string, edit imageindex.Edit, reg Registry) (Image, error) {
	if err := checkMembers(edit.Add, edit.Annotations, edit.Docker); err != nil {
		return Image{}, err
	}
	switch edit.Make {
	case "", "new", "amend", "replace":
	default:
		return Image{}, fmt.Errorf("%w: Edit.Make %q is none of new, amend and replace", ErrInvalid, edit.Make)
	}
	for _, d := range edit.Remove {
		if err := d.Validate(); err != nil {
			return Image{}, fmt.Errorf("%w: Edit.Remove %q: %w", ErrInvalid, d, err)
		}
	}
	out, err := call(ctx, b, protocol.Commit{Names: []string{ref}, Edit: &edit, Access: reg.or(b.opts.Registry).access()})
	return image(out), err
}

// checkMembers checks the annotations of an index and of what it says of its images.
func checkMembers(images []imageindex.Member, of map[string]string, docker bool) error {
	for _, m := range append(images[:len(images):len(images)], imageindex.Member{Annotations: of}) {
		if docker && len(m.Annotations) > 0 {
			return fmt.Errorf("%w: indexes of the format docker have no annotations", ErrInvalid)
		}
		for name, text := range m.Annotations {
			if err := errors.Join(checkUTF8("annotation", name), checkUTF8("annotation", text)); err != nil {
				return err
			}
		}
	}
	return nil
}
