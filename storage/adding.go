//go:build linux

package storage

import (
	"errors"
	"io"
	"slices"
	"sync"

	cs "go.podman.io/storage"
)

// adding is the store as containers/image sees it in one pull. It adds layer by layer, builds on those that are
// there, and leaves what it has added when the next one is not as it should be. Until the pull has ended nobody
// removes what it has added or found.
type adding struct {
	cs.Store
	of     *Store
	layers []string // that were added; they are by one goroutine
	done   []func() // ends the use of what was found or added
}

// Layer finds a layer, which the pull may build on. It is in use before it is looked up.
func (a *adding) Layer(id string) (*cs.Layer, error) {
	if err := a.keep(id); err != nil {
		return nil, err
	}
	return a.Store.Layer(id)
}

// PutLayer remembers the layer.
func (a *adding) PutLayer(id, parent string, names []string, mountLabel string, writeable bool, o *cs.LayerOptions, diff io.Reader) (*cs.Layer, int64, error) {
	if err := a.keep(id); err != nil {
		return nil, 0, err
	}
	l, size, err := a.Store.PutLayer(id, parent, names, mountLabel, writeable, o, diff)
	if err == nil {
		a.layers = append(a.layers, l.ID)
	}
	return l, size, err
}

// keep says that a layer is in use.
func (a *adding) keep(id string) error {
	done, err := a.of.noteMoving(id)
	a.done = append(a.done, done)
	return err
}

// end lets others remove what was found or added.
func (a *adding) end() {
	for _, done := range a.done {
		done()
	}
	a.done = nil
}

// pulls are those that go on. A layer's id comes of what it holds, so a pull finds the layers of another one and
// goes on with them; what a pull that failed has added is therefore removed when no other is at work.
type pulls struct {
	mu      sync.Mutex
	running int
	left    []string // layers that failed pulls have added
}

// triesBesideOthers is how often a pull is done when layers that it had found have gone, as when another process
// has removed what its own pull had added.
const triesBesideOthers = 3

// add does a pull into the store, and removes the layers that it has added when it fails.
func (s *Store) add(into *adding, pull func() error) error {
	for try := 1; ; try++ {
		into.layers = nil
		s.uses.pulls.begin()
		err := pull()
		if err == nil {
			into.layers = nil
		} else {
			into.end()
		}
		s.uses.pulls.end(into)
		if try == triesBesideOthers || !errors.Is(err, cs.ErrLayerUnknown) && !errors.Is(err, cs.ErrParentUnknown) {
			return err
		}
	}
}

func (p *pulls) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running++
}

// end ends a pull that leaves the layers of failed. Nothing begins until they are removed, but for those that
// something else is on by now, or that another process uses.
func (p *pulls) end(failed *adding) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left = append(p.left, failed.layers...)
	if p.running--; p.running > 0 {
		return
	}
	for left := -1; left != len(p.left); {
		left = len(p.left)
		slices.Reverse(p.left) // children first, as a rule
		p.left = slices.DeleteFunc(p.left, func(id string) bool { gone, err := failed.of.removeUnused(id); return gone && err == nil })
	}
	p.left = nil
}
