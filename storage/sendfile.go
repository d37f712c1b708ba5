//go:build linux

package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/archive"
	"go.podman.io/image/v5/docker/reference"
	ociarchive "go.podman.io/image/v5/oci/archive"
	ocilayout "go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/types"
	cs "go.podman.io/storage"

	"github.com/oakum-build/oakum/storage/imageref"
	"github.com/oakum-build/oakum/storage/registry"
	"github.com/oakum-build/oakum/storage/remotecache"
	"github.com/oakum-build/oakum/storage/wholefile"
)

// pushInto sends an image that is in use. containers/image writes archives, and the index of a layout, in their
// places, so that whoever ends it leaves half of them; here what was there before stays until all is written.
func (s *Store) pushInto(ctx context.Context, sys *types.SystemContext, img *cs.Image, to types.ImageReference, o PushOptions, a registry.Access) (d imgspec.Descriptor, err error) {
	path, name, _ := strings.Cut(to.StringWithinTransport(), ":")
	switch to.Transport().Name() {
	case archive.Transport.Name():
		if strings.HasPrefix(name, "@") {
			return d, fmt.Errorf("%w %q: an image gets no number in an archive, but a name", imageref.ErrInvalid, name)
		}
		tagged, _ := to.DockerReference().(reference.NamedTagged)
		err = wholefile.Write(path, func(f *os.File) error {
			return intoDocker(f, func(w *archive.Writer) error {
				inside, err := w.NewReference(tagged)
				if err == nil {
					d, err = s.pushTo(ctx, sys, img, inside, o, a)
				}
				return err
			})
		})
		return d, err
	case ociarchive.Transport.Name():
		err = wholefile.Write(path, func(f *os.File) error {
			return s.intoOCI(ctx, f, func(_ *os.Root, dir string) error {
				inside, err := ocilayout.NewReference(dir, name)
				if err == nil {
					d, err = s.pushTo(ctx, sys, img, inside, o, a)
				}
				return err
			})
		})
		return d, err
	case ocilayout.Transport.Name():
		err = intoLayout(path, func(dir, blobs string) error {
			inside, err := ocilayout.NewReference(dir, name)
			if err == nil {
				sys.OCISharedBlobDirPath = blobs
				d, err = s.pushTo(ctx, sys, img, inside, o, a)
			}
			return err
		})
		return d, err
	}
	return s.pushTo(ctx, sys, img, to, o, a)
}

// intoLayout has send add an image to the layout in a directory. It does so in a layout of its own in there, whose
// blobs are the other's. Then what is in its index is added to the other's.
func intoLayout(path string, send func(dir, blobs string) error) (err error) {
	if err := os.MkdirAll(filepath.Join(path, imgspec.ImageBlobsDir), 0o755); err != nil {
		return err
	}
	layout, err := os.Open(path)
	if err != nil {
		return err
	}
	defer layout.Close()
	root, err := os.OpenRoot(procPath(layout))
	if err != nil {
		return err
	}
	defer root.Close()
	own, err := remotecache.Aside(root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, own.Remove()) }()
	// A path may have a colon.
	if err := send(procPath(own.File()), filepath.Join(procPath(layout), imgspec.ImageBlobsDir)); err != nil {
		return err
	}
	var sent imgspec.Index
	raw, err := os.ReadFile(filepath.Join(procPath(own.File()), imgspec.ImageIndexFile))
	if err == nil {
		err = json.Unmarshal(raw, &sent)
	}
	if err != nil {
		return err
	}
	version, err := os.ReadFile(filepath.Join(procPath(own.File()), imgspec.ImageLayoutFile))
	if err != nil {
		return err
	}
	if err := wholefile.InSynced(root, imgspec.ImageLayoutFile, version, 0o644); err != nil {
		return err
	}
	return remotecache.ChangeIndex(root, func(index *imgspec.Index) {
		for _, m := range sent.Manifests {
			addEntry(index, m)
		}
	})
}

// addEntry adds an image to an index, as containers/image does: another one of its name loses that, and an entry without a name of
// the same image is replaced.
func addEntry(index *imgspec.Index, m imgspec.Descriptor) {
	if name := m.Annotations[imgspec.AnnotationRefName]; name != "" {
		for _, old := range index.Manifests {
			if old.Annotations[imgspec.AnnotationRefName] == name {
				delete(old.Annotations, imgspec.AnnotationRefName)
			}
		}
	}
	at := slices.IndexFunc(index.Manifests, func(old imgspec.Descriptor) bool {
		return old.Digest == m.Digest && old.Annotations[imgspec.AnnotationRefName] == ""
	})
	if at < 0 {
		index.Manifests = append(index.Manifests, m)
		return
	}
	index.Manifests[at] = m
}
