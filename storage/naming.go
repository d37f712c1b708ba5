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
)

// naming is the store for who makes one image: it is made with its names, in one write.
// Without a name it would be fair game for podman image prune, which removes by id what had
// no name when it looked, whatever has happened since. containers/image names only afterwards.
type naming struct {
	cs.Store
	of      *Store
	names   []string
	standIn string // the name that the image was made with, when another had one of names
}

// CreateImage makes the image with its names. A name that another image has can only be
// taken from it afterwards; until then the image has the name by its digest, which is
// true, should this process be killed.
func (n *naming) CreateImage(id string, names []string, layer, metadata string, opts *cs.ImageOptions) (*cs.Image, error) {
	names = append(slices.Clone(n.names), names...)
	img, err := n.Store.CreateImage(id, names, layer, metadata, opts)
	if !errors.Is(err, cs.ErrDuplicateName) {
		return img, err
	}
	named, err := reference.ParseNormalizedNamed(names[0])
	if err != nil {
		return nil, fmt.Errorf("%w %q: %w", ErrReference, names[0], err)
	}
	d := opts.Digest
	if d == "" {
		d = digest.NewDigestFromEncoded(digest.SHA256, id)
	}
	n.standIn = named.Name() + "@" + d.String()
	return n.Store.CreateImage(id, []string{n.standIn}, layer, metadata, opts)
}

// settled is how long an image that was without a name is watched once it has one: whoever
// prunes removes it by its id if it had none when they looked.
const settled = 100 * time.Millisecond

// AddNames gives the image the names that it lacks, while no other oakum removes images. It
// fails with ErrImageUnknown when the image goes all the same.
func (n *naming) AddNames(id string, names []string) error {
	unnamed, err := n.addNames(id, names)
	if err != nil || !unnamed {
		return err
	}
	time.Sleep(settled)
	_, err = n.Image(id)
	return err
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
