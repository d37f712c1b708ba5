//go:build linux

package storage

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	dockerarchive "go.podman.io/image/v5/docker/archive"
	"go.podman.io/image/v5/docker/reference"
	ocilayout "go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/types"

	"github.com/oakum-build/oakum/storage/imageref"
	"github.com/oakum-build/oakum/storage/registry"
)

// Save writes images of the store to out as one archive: with PushOptions.Format "oci" an OCI image
// layout as a tar, whose bytes depend on the images and names alone, and with "docker" what docker save writes. It gives the
// manifests as they are there. What was written before an error is no archive.
func (s *Store) Save(ctx context.Context, out *os.File, images []imageref.Named, o PushOptions, a registry.Access) ([]imgspec.Descriptor, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	named, err := archiveNames(images)
	if err != nil {
		return nil, err
	}
	if o.Format == "docker" {
		return s.saveDocker(ctx, out, images, named, o, a)
	}
	return s.saveOCI(ctx, out, images, named, o, a)
}

// archiveNames reads the names of images, none of which may be given twice.
func archiveNames(images []imageref.Named) ([][]reference.NamedTagged, error) {
	all := make([][]reference.NamedTagged, len(images))
	taken := map[string]string{}
	for i, img := range images {
		for _, name := range img.Names {
			named, err := reference.ParseNormalizedNamed(name)
			if err != nil {
				return nil, fmt.Errorf("%w %q: %w", imageref.ErrInvalid, name, err)
			}
			tagged, ok := reference.TagNameOnly(named).(reference.NamedTagged)
			if _, digested := named.(reference.Digested); !ok || digested {
				return nil, fmt.Errorf("%w %q: an archive has names with tags alone", imageref.ErrInvalid, name)
			}
			switch other, has := taken[tagged.String()]; {
			case has && other == img.Ref:
				continue
			case has:
				return nil, fmt.Errorf("%w %q: two images of the archive would have this name", imageref.ErrInvalid, name)
			}
			taken[tagged.String()] = img.Ref
			all[i] = append(all[i], tagged)
		}
	}
	return all, nil
}

// sendAll sends each image to where to says.
func (s *Store) sendAll(ctx context.Context, images []imageref.Named, o PushOptions, a registry.Access, to func(i int, sys *types.SystemContext) ([]types.ImageReference, error)) ([]imgspec.Descriptor, error) {
	var all []imgspec.Descriptor
	for i, image := range images {
		img, err := s.find(image.Ref)
		if err != nil {
			return nil, err
		}
		done, err := s.useWhole(img)
		if err != nil {
			return nil, err
		}
		defer done()
		sys, err := s.systemContext(a)
		if err != nil {
			return nil, err
		}
		places, err := to(i, sys)
		if err != nil {
			return nil, err
		}
		var sent imgspec.Descriptor
		for _, place := range places {
			if sent, err = s.pushTo(ctx, sys, img, place, o, a.Moving(image.Ref, true)); err != nil {
				return nil, err
			}
		}
		all = append(all, sent)
	}
	return all, nil
}

// saveDocker writes an archive as docker save does, layers that images share once.
func (s *Store) saveDocker(ctx context.Context, out *os.File, images []imageref.Named, named [][]reference.NamedTagged, o PushOptions, a registry.Access) (all []imgspec.Descriptor, err error) {
	err = intoDocker(out, func(w *dockerarchive.Writer) (err error) {
		all, err = s.sendAll(ctx, images, o, a, func(i int, sys *types.SystemContext) ([]types.ImageReference, error) {
			var name reference.NamedTagged
			if names := named[i]; len(names) > 0 {
				name, sys.DockerArchiveAdditionalTags = names[0], names[1:]
			}
			to, err := w.NewReference(name)
			return []types.ImageReference{to}, err
		})
		return err
	})
	return all, err
}

// intoDocker has send send images to an archive of Docker's.
func intoDocker(out *os.File, send func(*dockerarchive.Writer) error) error {
	w, err := dockerarchive.NewWriter(nil, procPath(out))
	if err != nil {
		return err
	}
	if err := send(w); err != nil {
		_ = w.Close() // it would remove a regular file, which has no name that it knows
		return err
	}
	return w.Close()
}

func (s *Store) saveOCI(ctx context.Context, out *os.File, images []imageref.Named, named [][]reference.NamedTagged, o PushOptions, a registry.Access) (all []imgspec.Descriptor, err error) {
	err = s.intoOCI(ctx, out, func(root *os.Root, dir string) (err error) {
		all, err = s.sendAll(ctx, images, o, a, func(i int, _ *types.SystemContext) ([]types.ImageReference, error) {
			var places []types.ImageReference
			for _, name := range named[i] {
				to, err := ocilayout.NewReference(dir, name.String())
				if err != nil {
					return nil, err
				}
				places = append(places, to)
			}
			if len(places) > 0 {
				return places, nil
			}
			to, err := ocilayout.NewReference(dir, "")
			return []types.ImageReference{to}, err
		})
		if err != nil {
			return err
		}
		return nameForContainerd(root)
	})
	return all, err
}

// intoOCI has send send images to a layout in a scratch directory, for the size of a blob stands before it in a
// tar, and writes that as a tar.
func (s *Store) intoOCI(ctx context.Context, out io.Writer, send func(root *os.Root, dir string) error) (err error) {
	dir, done, err := s.ScratchDir("save-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	opened, err := root.Open(".")
	if err != nil {
		return err
	}
	defer opened.Close()
	if err := send(root, procPath(opened)); err != nil { // a path may have a colon
		return err
	}
	return writeLayout(ctx, out, root)
}

func procPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// containerdName is the annotation of an index by which containerd, and with it Docker and nerdctl, know
// an image's name.
const containerdName = "io.containerd.image.name"

// nameForContainerd gives the images of a layout their names as containerd reads them.
func nameForContainerd(root *os.Root) error {
	raw, err := root.ReadFile("index.json")
	if err != nil {
		return err
	}
	var index imgspec.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		return err
	}
	for _, m := range index.Manifests {
		if name := m.Annotations[imgspec.AnnotationRefName]; name != "" {
			m.Annotations[containerdName] = name
		}
	}
	if raw, err = json.Marshal(index); err != nil {
		return err
	}
	return root.WriteFile("index.json", raw, 0o600)
}

// writeLayout writes the files of a layout as a tar.
func writeLayout(ctx context.Context, out io.Writer, root *os.Root) error {
	var names []string
	err := fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || name == ".":
			return err
		case d.IsDir(): // of which skopeo and podman make none as an ordinary user that has no entry
			names = append(names, name+"/")
		case d.Type().IsRegular():
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	// What says which blobs there are comes first.
	slices.SortStableFunc(names, func(a, b string) int { return rank(a) - rank(b) })
	w := tar.NewWriter(out)
	for _, name := range names {
		if err := writeLayoutFile(ctx, w, root, name); err != nil {
			return err
		}
	}
	return w.Close()
}

// rank is the place of a file among those of a layout; blobs stay in the order of their digests.
func rank(name string) int {
	if i := slices.Index([]string{imgspec.ImageLayoutFile, "index.json"}, name); i >= 0 {
		return i
	}
	return 2
}

func writeLayoutFile(ctx context.Context, w *tar.Writer, root *os.Root, name string) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err = errors.Join(err, ctx.Err()); err != nil {
		return err
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: info.Size(), ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
	if info.IsDir() {
		h.Typeflag, h.Mode, h.Size = tar.TypeDir, 0o755, 0
	}
	if err := w.WriteHeader(h); err != nil || info.IsDir() {
		return err
	}
	_, err = io.Copy(w, untilDone{ctx, f})
	return err
}
