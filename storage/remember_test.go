//go:build linux

package storage

import (
	"slices"
	"testing"
)

// Prune keeps what leads from a layer that is gone to a result that is there, and no more.
func TestRemember(t *testing.T) {
	t.Parallel()
	s := open(t)
	var gone []*Layer // each on the one before
	for _, name := range []string{"a", "b", "c", "other"} {
		var below *Layer
		if len(gone) > 0 && name != "other" {
			below = gone[len(gone)-1]
		}
		gone = append(gone, layer(t, s, below, "f", name))
	}
	live := layer(t, s, nil, "f", "live")
	record := func(k, content int, below, l *Layer) {
		t.Helper()
		text := ""
		if content > 0 {
			text = key(content)
		}
		if err := s.RecordStep(key(k), text, below, l); err != nil {
			t.Fatal(err)
		}
	}
	remember := func(k, content int, layers ...string) {
		t.Helper()
		if err := s.RememberContent(key(k), key(content), layers...); err != nil {
			t.Fatal(err)
		}
	}
	record(1, 0, nil, gone[0])
	record(2, 21, gone[0], gone[1]) // copied from the other
	record(3, 0, gone[1], gone[2])  // leads nowhere
	record(4, 0, nil, gone[3])
	record(5, 22, nil, live) // copied from gone[1]
	remember(11, 22, gone[1].ID())
	remember(12, 21, gone[3].ID())
	remember(13, 23, gone[2].ID()) // of which there is no result
	remember(14, 14)
	for _, l := range []*Layer{gone[2], gone[1], gone[0], gone[3]} {
		if err := s.cs.DeleteLayer(l.ID()); err != nil {
			t.Fatal(err)
		}
	}
	if s.Remembers() {
		t.Error("something is remembered before a prune")
	}
	for range 2 {
		if err := s.forget(); err != nil {
			t.Fatal(err)
		}
		steps, err := s.names("steps")
		slices.Sort(steps)
		if want := []string{key(1), key(2), key(4), key(5)}; err != nil || !slices.Equal(steps, want) {
			t.Fatalf("steps %q, want %q (%v)", steps, want, err)
		}
		contents, err := s.names("contents")
		slices.Sort(contents)
		if want := []string{key(11), key(12)}; err != nil || !slices.Equal(contents, want) {
			t.Fatalf("contents %q, want %q (%v)", contents, want, err)
		}
		if _, ok := s.Step(key(1), ""); ok || !s.Remembers() {
			t.Error("a layer that is gone is a result, or is not remembered")
		}
		l, ok := s.Remembered(key(2), key(21))
		if !ok || !l.Gone() || l.ID() != gone[1].ID() {
			t.Errorf("remembered layer %q, %v", l.ID(), ok)
		}
		if _, err := l.Lowers(); err == nil {
			t.Error("its files can be opened")
		}
		if _, ok := s.Remembered(key(2), key(22)); ok {
			t.Error("a result of another content")
		}
	}
	if err := s.cs.DeleteLayer(live.ID()); err != nil {
		t.Fatal(err)
	}
	if err := s.forget(); err != nil {
		t.Fatal(err)
	}
	if steps, err := s.names("steps"); len(steps) > 0 || err != nil || s.Remembers() {
		t.Errorf("without the result, %q stay (%v)", steps, err)
	}
}
