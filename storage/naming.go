//go:build linux

package storage

import (
	"cmp"
	"slices"
	"time"

	cs "go.podman.io/storage"
	"go.podman.io/storage/pkg/stringid"
	"golang.org/x/sys/unix"
)

// naming is the store as containers/image sees it while it makes one image. containers/image
// makes an image without a name, and names it afterwards. In between, podman image prune may
// look: it lists the images without a name and then removes them by id, even if one has got a name
// since. So naming makes the image with its names, in one write, also those that others have until then.
type naming struct {
	cs.Store
	of    *Store
	names []string
}

// CreateImage makes the image with its names.
func (n *naming) CreateImage(id string, names []string, layer, metadata string, opts *cs.ImageOptions) (*cs.Image, error) {
	if err := n.of.syncFiles(); err != nil {
		return nil, err
	}
	if img, err := n.Store.Image(id); err == nil && img.ReadOnly { // of another store, from which containers/storage copies it
		return n.Store.CreateImage(id, nil, layer, metadata, opts)
	}
	img := &cs.Image{
		ID: cmp.Or(id, stringid.GenerateRandomID()), Names: slices.Concat(n.names, names), NamesHistory: slices.Concat(n.names, names, opts.NamesHistory),
		Digest: opts.Digest, Metadata: cmp.Or(metadata, opts.Metadata), Created: opts.CreationDate, Flags: opts.Flags,
	}
	if img.Created.IsZero() {
		img.Created = time.Now().UTC()
	}
	files := ""
	if layer != "" {
		l, err := n.Store.Layer(layer)
		if err == nil {
			img.TopLayer = l.ID
			files, err = n.of.diffDir(l.ID)
		}
		if err != nil {
			return nil, err
		}
	}
	list, err := n.of.imageList()
	if err == nil {
		err = list.add(img, files, opts.BigData)
	}
	if err != nil {
		return nil, err
	}
	return n.Store.Image(img.ID)
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
	return len(img.Names) == 0 && len(names) > 0, nil
}

// addNames gives an image that is there further names.
func (s *Store) addNames(id string, names ...string) error {
	return (&naming{Store: s.cs, of: s}).AddNames(id, names)
}
