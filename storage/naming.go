//go:build linux

package storage

import (
	"errors"
	"fmt"
	"slices"
	"time"

	digest "github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker/reference"
	cs "go.podman.io/storage"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/imageref"
)

// naming is the store as containers/image sees it while it makes one image. containers/image
// makes an image without a name, and names it afterwards. In between, podman image prune may
// look: it lists the images without a name and then removes them by id, even if one has got a name
// since. So naming makes the image with its names, in one write.
type naming struct {
	cs.Store
	of      *Store
	names   []string
	standIn string // the name that the image was made with, when another had one of names
}

// CreateImage makes the image with its names. When another image has one of them, it can only be
// taken from that one afterwards, by AddNames. Until then the image has a name of its own digest,
// NAME@sha256:..., which is true even if this process is killed and it stays.
func (n *naming) CreateImage(id string, names []string, layer, metadata string, opts *cs.ImageOptions) (*cs.Image, error) {
	if err := n.of.syncFiles(); err != nil {
		return nil, err
	}
	names = append(slices.Clone(n.names), names...)
	img, err := n.Store.CreateImage(id, names, layer, metadata, opts)
	if !errors.Is(err, cs.ErrDuplicateName) {
		return img, err
	}
	named, err := reference.ParseNormalizedNamed(names[0])
	if err != nil {
		return nil, fmt.Errorf("%w %q: %w", imageref.ErrInvalid, names[0], err)
	}
	d := opts.Digest
	if d == "" {
		d = digest.NewDigestFromEncoded(digest.SHA256, id)
	}
	n.standIn = named.Name() + "@" + d.String()
	return n.Store.CreateImage(id, []string{n.standIn}, layer, metadata, opts)
}

// settled is how long AddNames waits before it looks whether an image that had no name is still
// there. Another program that prunes may have listed it before it got one, and removes it
// within that time.
const settled = 100 * time.Millisecond

// AddNames gives the image the names that it lacks. Other processes of oakum remove no images
// meanwhile. If another program removes it all the same, the error is ErrImageUnknown.
func (n *naming) AddNames(id string, names []string) error {
	unnamed, err := n.addNames(id, names)
	if err == nil && unnamed {
		time.Sleep(settled)
		_, err = n.Image(id)
	}
	if err != nil {
		return err
	}
	return n.of.syncImages()
}

func (n *naming) addNames(id string, names []string) (unnamed bool, err error) {
	n.of.uses.mu.Lock()
	defer n.of.uses.mu.Unlock()
	if err := n.of.lockRemoval(unix.LOCK_SH); err != nil {
		return false, err
	}
	defer n.of.unlockRemoval()
	img, err := n.Image(id)
	if err != nil {
		return false, err
	}
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(img.Names, name) })
	if len(names) > 0 {
		if err := n.Store.AddNames(id, names); err != nil {
			return false, err
		}
	}
	if n.standIn != "" {
		return false, n.RemoveNames(id, []string{n.standIn})
	}
	return len(img.Names) == 0 && len(names) > 0, nil
}

// addNames gives an image that is there further names.
func (s *Store) addNames(id string, names ...string) error {
	return (&naming{Store: s.cs, of: s}).AddNames(id, names)
}
