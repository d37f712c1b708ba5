//go:build linux

package storage

import (
	"errors"
	"testing"
)

// A layer that was filled and cannot be written is told from one that could not be filled,
// and layers on it say which it was.
func TestLayerError(t *testing.T) {
	t.Parallel()
	s := open(t)
	below := layer(t, s, nil, "f", "")
	fault := errors.New("fault")
	var failed *LayerError
	if _, err := makeLayer(t, s, nil, func(string) error { return fault }); !errors.Is(err, fault) || errors.As(err, &failed) {
		t.Errorf("got %v", err)
	}
	l, err := makeLayer(t, s, below, func(string) error { return s.cs.DeleteLayer(below.ID()) })
	if err != nil {
		t.Fatal(err)
	}
	above, err := makeLayer(t, s, l, func(string) error { return nil })
	if err == nil {
		err = above.Wait(t.Context())
	}
	for _, err := range []error{l.Wait(t.Context()), err} {
		if !errors.As(err, &failed) || failed.Layer != l.ID() {
			t.Errorf("got %v, want the error of %s", err, l.ID())
		}
	}
}
