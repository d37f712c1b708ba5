//go:build linux

package storage

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/oakum-build/oakum/storage/records"
)

// layerRef names a layer of a store as a Layer is: with the times that records have given it and those below, its own
// first, and with those on top, the lowest first, that are remembered alone.
type layerRef struct {
	ID      string // of the uppermost that is there; "" is the empty root
	Created []time.Time
	Gone    []records.Record `json:",omitempty"`
}

// Ref names a layer to another process that has the same store open, for LayerAt. It is registered, and so are those
// below.
func (l *Layer) Ref() (json.RawMessage, error) {
	var r layerRef
	for ; l.Gone(); l = l.parent {
		r.Gone = append(r.Gone, records.Record{Chain: l.chain, DiffID: l.diffID, Size: l.size, Created: l.created})
	}
	slices.Reverse(r.Gone)
	r.ID = l.ID()
	for ; l != nil; l = l.parent {
		r.Created = append(r.Created, l.created)
	}
	return json.Marshal(r)
}

// LayerAt finds the layer that Ref has named. It fails with ErrRemoved when that is not there any more.
func (s *Store) LayerAt(ref json.RawMessage) (*Layer, error) {
	var r layerRef
	if err := json.Unmarshal(ref, &r); err != nil {
		return nil, err
	}
	l, err := s.Layer(r.ID)
	if err != nil {
		return nil, (&Layer{id: r.ID}).removed()
	}
	var all []*Layer
	for below := l; below != nil; below = below.parent {
		all = append(all, below)
	}
	if len(all) != len(r.Created) {
		return nil, (&Layer{id: r.ID}).removed() // and another one was made
	}
	l = nil
	for i, of := range slices.Backward(all) {
		l = of.datedBy(records.Record{Created: r.Created[i]}, l)
	}
	for _, gone := range r.Gone {
		l = l.Remembered(gone)
	}
	return l, nil
}
