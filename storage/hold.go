//go:build linux

package storage

import (
	"errors"
	"time"

	cs "go.podman.io/storage"
	"go.podman.io/storage/pkg/stringid"
)

// A hold is an empty layer on top of one that is in use. Whoever removes an image through
// containers/storage, with force or without, leaves a layer that another layer is on, and
// all below it: of an image that Podman or Buildah remove during a build the record
// goes, and its files stay until the build has ended. A container's record would be no
// better: removing with force takes those too.
//
// A record costs some milliseconds, so a layer is held only once it has been in use for
// holdDelay. A step on one that goes before that fails (see Store.Intact). Holds stand in
// the note of the process, so that the next one removes those of a process that was killed.

const holdDelay = 250 * time.Millisecond

// holdFlag marks holds among the store's layers.
const holdFlag = "oakum-hold"

type hold struct {
	id    string
	layer *Layer
}

// keepSoon has the holds looked after in a while. The caller holds uses.mu.
func (s *Store) keepSoon() {
	if s.uses.timer == nil && !s.uses.closed {
		s.uses.timer = time.AfterFunc(holdDelay, s.keep)
	}
}

// keep makes the holds that are missing, and then removes those that are no longer needed.
// One that cannot be made is tried again with the next change; until then the step itself
// finds out when its layers go.
func (s *Store) keep() {
	s.uses.keeping.Lock()
	defer s.uses.keeping.Unlock()
	s.uses.mu.Lock()
	s.uses.timer = nil
	if s.uses.closed {
		s.uses.mu.Unlock()
		return
	}
	wanted, young := s.wantedHolds()
	var missing []*hold
	for id, l := range wanted {
		if s.uses.holds[id] == nil {
			h := &hold{stringid.GenerateRandomID(), l}
			s.uses.holds[id] = h
			missing = append(missing, h)
		}
	}
	var needless []*hold
	for id, h := range s.uses.holds {
		if wanted[id] == nil && !young {
			needless = append(needless, h)
		}
	}
	if young {
		s.keepSoon()
	}
	err := s.writeNote() // before the holds are made, for who sweeps after a crash
	s.uses.mu.Unlock()
	for _, h := range missing {
		if err != nil || s.makeHold(h) != nil {
			s.dropHold(h)
		}
	}
	for _, h := range needless {
		if s.release(h.id) == nil {
			s.dropHold(h)
		}
	}
}

// releaseUnused removes at once the holds of layers that are in use no more, before
// something is removed whose layers they would keep.
func (s *Store) releaseUnused() {
	s.uses.keeping.Lock()
	defer s.uses.keeping.Unlock()
	s.uses.mu.Lock()
	used := map[string]bool{}
	for u := range s.uses.open {
		for l := u.layer; l != nil; l = l.parent {
			used[l.id] = true
		}
	}
	var needless []*hold
	for id, h := range s.uses.holds {
		if !used[id] {
			needless = append(needless, h)
		}
	}
	s.uses.mu.Unlock()
	for _, h := range needless {
		if s.release(h.id) == nil {
			s.dropHold(h)
		}
	}
}

// wantedHolds are the layers in use that no other one in use is on. young says that
// some are not in use for long, or not registered yet. The caller holds uses.mu.
func (s *Store) wantedHolds() (wanted map[string]*Layer, young bool) {
	wanted = map[string]*Layer{}
	for u := range s.uses.open {
		l := u.layer
		if time.Since(u.since) < holdDelay && l != nil {
			young = true
			continue
		}
		for l != nil && !l.registered() {
			l, young = l.parent, true
		}
		if l != nil {
			wanted[l.id] = l
		}
	}
	for _, l := range wanted {
		for below := l.Parent(); below != nil; below = below.parent {
			delete(wanted, below.id)
		}
	}
	return wanted, young
}

func (s *Store) makeHold(h *hold) error {
	_, err := s.cs.CreateLayer(h.id, h.layer.id, nil, "", false, &cs.LayerOptions{Flags: map[string]any{holdFlag: s.user.PID}})
	return err
}

func (s *Store) dropHold(h *hold) {
	s.uses.mu.Lock()
	defer s.uses.mu.Unlock()
	delete(s.uses.holds, h.layer.id)
	_ = s.writeNote()
}

// release removes a hold, and of the layers below it those that only the hold has kept:
// their image has been removed meanwhile. Layers of build steps are Prune's.
func (s *Store) release(id string) error {
	l, err := s.cs.Layer(id)
	if errors.Is(err, cs.ErrLayerUnknown) {
		return nil
	}
	if err != nil || l.Flags[holdFlag] == nil {
		return err
	}
	if err := s.deleteLayer(l.ID); err != nil {
		return err
	}
	return s.removing(func(inUse func(string) *note) error {
		s.removeOrphans(l.Parent, inUse)
		return nil
	})
}

// removeOrphans removes a layer, and then those below it, on which nothing is any more.
func (s *Store) removeOrphans(id string, inUse func(string) *note) {
	for id != "" && inUse(id) == nil {
		l, err := s.cs.Layer(id)
		if err != nil || l.Flags[layerFlag] != nil {
			return
		}
		if s.deleteLayer(id) != nil {
			return // an image, a container or another layer is on it
		}
		id = l.Parent
	}
}

// closeUses ends all uses and removes the holds.
func (s *Store) closeUses() error {
	s.uses.mu.Lock()
	s.uses.closed = true
	if s.uses.timer != nil {
		s.uses.timer.Stop()
	}
	clear(s.uses.open)
	s.uses.mu.Unlock()
	s.uses.keeping.Lock()
	defer s.uses.keeping.Unlock()
	var errs []error
	for _, h := range s.uses.holds {
		errs = append(errs, s.release(h.id))
	}
	return errors.Join(append(errs, s.uses.removal.Close())...)
}
