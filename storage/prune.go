//go:build linux

package storage

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	cs "go.podman.io/storage"
	"golang.org/x/sys/unix"
)

// layerFlag marks the layers that build steps made, among the store's.
const layerFlag = "oakum"

// Pruned is what Prune removed.
type Pruned struct {
	Layers int
	Size   int64 // bytes, as uncompressed tars
}

// hold keeps Prune of other processes out for as long as the store is open.
func (s *Store) hold() error {
	f, err := s.private.OpenFile("lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	s.lock = f
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH); err != nil {
		return &os.PathError{Op: "flock", Path: f.Name(), Err: err}
	}
	return nil
}

// others names the processes that have used something of the store.
func (s *Store) others() string {
	s.uses.mu.Lock()
	defer s.uses.mu.Unlock()
	notes, err := s.notes()
	if err != nil || len(notes) < 2 {
		return "another process is"
	}
	names := make([]string, 0, len(notes))
	for _, n := range notes[1:] {
		names = append(names, n.String())
	}
	verb := " is"
	if len(names) > 1 {
		verb = " are"
	}
	return strings.Join(names, ", ") + verb
}

// Prune removes the layers of build steps that no image and no container uses, and
// what the layer cache says of them. Layers that only these have kept, for their image has
// been removed, go with them. It fails with ErrInUse while another process has
// the store open, for that may be using them.
func (s *Store) Prune() (Pruned, error) {
	var out Pruned
	if err := unix.Flock(int(s.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return out, fmt.Errorf("%w: %s using the store; try again when that has ended", ErrInUse, s.others())
	}
	defer func() { _ = unix.Flock(int(s.lock.Fd()), unix.LOCK_SH) }()
	s.releaseUnused()
	err := s.removing(func(inUse func(string) *note) (err error) {
		out, err = s.prune(inUse)
		return err
	})
	return out, errors.Join(err, s.forget())
}

func (s *Store) prune(inUse func(string) *note) (Pruned, error) {
	var out Pruned
	all, err := s.cs.Layers()
	if err != nil {
		return out, err
	}
	used, err := s.usedLayers(all)
	if err != nil {
		return out, err
	}
	for _, l := range childrenFirst(all) {
		if used[l.ID] || inUse(l.ID) != nil || l.Flags[layerFlag] == nil {
			continue
		}
		err := s.deleteLayer(l.ID)
		if errors.Is(err, cs.ErrLayerHasChildren) || errors.Is(err, cs.ErrLayerUnknown) {
			continue
		}
		if err != nil {
			return out, fmt.Errorf("removing layer %s: %w", l.ID, err)
		}
		out.Layers++
		out.Size += max(l.UncompressedSize, 0)
		s.removeOrphans(l.Parent, inUse)
	}
	return out, nil
}

// usedLayers are those below an image or a container.
func (s *Store) usedLayers(all []cs.Layer) (map[string]bool, error) {
	parents := make(map[string]string, len(all))
	for _, l := range all {
		parents[l.ID] = l.Parent
	}
	used := map[string]bool{}
	mark := func(ids ...string) {
		for _, id := range ids {
			for ; id != "" && !used[id]; id = parents[id] {
				used[id] = true
			}
		}
	}
	images, err := s.cs.Images()
	if err != nil {
		return nil, err
	}
	for _, i := range images {
		mark(i.TopLayer)
		mark(i.MappedTopLayers...)
	}
	containers, err := s.cs.Containers()
	if err != nil {
		return nil, err
	}
	for _, c := range containers {
		mark(c.LayerID)
	}
	return used, nil
}

// childrenFirst orders layers so that each comes before the one below it.
func childrenFirst(all []cs.Layer) []cs.Layer {
	parents := make(map[string]string, len(all))
	for _, l := range all {
		parents[l.ID] = l.Parent
	}
	depth := func(id string) (n int) {
		for ; id != "" && n <= len(all); id = parents[id] {
			n++
		}
		return n
	}
	out := slices.Clone(all)
	slices.SortStableFunc(out, func(a, b cs.Layer) int { return depth(b.ID) - depth(a.ID) })
	return out
}

// forget drops what the cache knows of layers that are gone, but for what leads to a
// result that is there, and what was remembered of files.
func (s *Store) forget() error {
	if err := s.forgetSteps(); err != nil {
		return err
	}
	for _, dir := range []string{"files", "urls", "plain"} {
		if err := errors.Join(s.private.RemoveAll(dir), s.private.Mkdir(dir, 0o755)); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) names(dir string) ([]string, error) {
	d, err := s.private.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}
