//go:build linux

package storage

import (
	"errors"
	"slices"
	"time"

	cs "go.podman.io/storage"
	"go.podman.io/storage/pkg/stringid"
)

// A hold is an empty layer on top of one that is in use. It protects layers from programs that
// do not read notes. containers/storage never removes a layer that another one is on, not
// even by force. So when Podman or Buildah removes an image during a build, the image's
// record goes, but its layers stay until the build has ended. (The record of a container
// would protect them less: removing by force removes containers too.)
//
// To make a hold costs some milliseconds. So a layer gets one only when it has been in use for
// holdDelay. If it is removed before that, the step that is done on it fails (see
// Store.Intact). The holds of a process stand in its note: if it is killed, the next process
// finds them there and removes them. A power cut may leave a hold and not the note: see releaseStray.

const holdDelay = 250 * time.Millisecond

// holdFlag marks holds among the store's layers.
const holdFlag = "oakum-hold"

func isHold(l cs.Layer) bool { return l.Flags[holdFlag] != nil }

type hold struct {
	id    string
	layer *Layer
}

// keepSoon makes keep run after holdDelay, but in a store that is only looked at. The caller holds uses.mu.
func (s *Store) keepSoon() {
	if s.uses.timer == nil && !s.uses.closed && s.cs != nil {
		s.uses.timer = time.AfterFunc(holdDelay, s.keep)
	}
}

// keep makes the holds that are missing, and then removes those that are no longer needed.
// If one cannot be made, that is tried again when something else comes into use. Until then
// its layer is not protected, and a step finds out by Intact when it was removed.
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
	err := s.writeNote() // first, so that after a crash there is no hold that is in no note
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

// releaseUnused removes the holds of layers that are no longer in use, without waiting for
// keep. It is called before images or layers are removed, which the holds would prevent.
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

// wantedHolds are the layers that should have a hold, by their ids: the uppermost of those that
// are in use. young says that there are more, which have not been in use for holdDelay or are
// not registered yet. The caller holds uses.mu.
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

func (s *Store) makeHold(h *hold) error { return s.putHold(h.id, h.layer.id) }

// putHold makes the layer of a hold. That stands in the process's note.
func (s *Store) putHold(id, on string) error {
	_, err := s.cs.CreateLayer(id, on, nil, "", false, &cs.LayerOptions{Flags: map[string]any{holdFlag: s.user.PID}})
	return err
}

func (s *Store) dropHold(h *hold) {
	s.uses.mu.Lock()
	defer s.uses.mu.Unlock()
	delete(s.uses.holds, h.layer.id)
	_ = s.writeNote()
}

// release removes a hold. When the image below has been removed meanwhile, only the hold has
// kept its layers, and they are removed too. Layers of build steps stay, for Prune to remove.
func (s *Store) release(id string) error {
	l, err := s.cs.Layer(id)
	if errors.Is(err, cs.ErrLayerUnknown) {
		return nil
	}
	if err != nil || !isHold(*l) {
		return err
	}
	// Where it cannot be told what is in use, the hold stays too: nobody would remove the layers below it later on.
	if err := s.alone(func([]note) error { return nil }); err != nil {
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

// releaseStray removes the holds that stand in no note of a process that lives. Whoever makes one has noted it before, so nobody has
// them. What cannot be removed is tried again another time.
func (s *Store) releaseStray() {
	all, err := s.cs.Layers() // before the notes: what is gone from them by then is gone itself
	all = slices.DeleteFunc(all, func(l cs.Layer) bool { return !isHold(l) })
	if err != nil || len(all) == 0 {
		return
	}
	noted := map[string]bool{}
	err = s.alone(func(notes []note) error {
		for _, n := range notes {
			for _, id := range n.Holds {
				noted[id] = true
			}
		}
		return nil
	})
	for _, l := range all {
		if err == nil && !noted[l.ID] {
			_ = s.release(l.ID)
		}
	}
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

// closeUses ends all uses and removes the holds. Those that cannot be removed are left to the next process, in the note.
func (s *Store) closeUses() error {
	s.uses.mu.Lock()
	s.uses.closed = true
	if s.uses.timer != nil {
		s.uses.timer.Stop()
	}
	clear(s.uses.open)
	clear(s.uses.made)
	clear(s.uses.moving)
	s.uses.mu.Unlock()
	s.uses.keeping.Lock()
	defer s.uses.keeping.Unlock()
	ids := slices.Clone(s.uses.marks)
	for _, h := range s.uses.holds {
		ids = append(ids, h.id)
	}
	if len(ids) > 0 {
		s.makeRoom()
	}
	var errs []error
	for _, id := range ids {
		errs = append(errs, s.release(id))
	}
	err := errors.Join(errs...)
	s.uses.left = err != nil
	return errors.Join(err, s.uses.removal.Close())
}
