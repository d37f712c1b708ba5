//go:build linux

package storage

import (
	"context"
	"errors"
	"sync"
	"testing"
)

// One at a time has a step, whichever of its names it is called by, and who waits can give up at once.
func TestLockStep(t *testing.T) {
	t.Parallel()
	s := open(t)
	other := another(t, s, 1)
	defer other.Close()
	lock := func(s *Store, names ...string) func() {
		t.Helper()
		release, err := s.LockStep(t.Context(), nil, names...)
		if err != nil {
			t.Fatal(err)
		}
		return release
	}
	busy := func(names ...string) bool {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // it is tried once
		release, err := other.LockStep(ctx, nil, names...)
		if err == nil {
			release()
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		return err != nil
	}
	one := lock(s, "a", "b")
	if !busy("a") || !busy("b") || !busy("x", "b") || !busy("b", "x") {
		t.Error("two have a step")
	}
	two := lock(s, "c")
	if busy("x") {
		t.Error("of two names of which one was had by another, one is kept")
	}
	one()
	if busy("a") || busy("b") || busy("a", "b") || !busy("c") {
		t.Error("another step goes, or this one does not")
	}
	two()
	ctx, cancel := context.WithCancel(t.Context())
	again := lock(s, "a")
	defer again()
	ended := make(chan error)
	go func() {
		_, err := other.LockStep(ctx, cancel, "a") // which is called when it has waited for long
		ended <- err
	}()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// Those who want two names in whatever order do not wait for each other for ever, and never have one at once.
func TestLockStepOrder(t *testing.T) {
	t.Parallel()
	s := open(t)
	var stores []*Store
	for i := range 4 {
		stores = append(stores, another(t, s, i+1))
	}
	names := [][]string{{"a", "b"}, {"b", "c"}, {"c", "a"}, {"c", "b"}}
	var all sync.WaitGroup
	var mu sync.Mutex
	has := map[string]bool{}
	for i, store := range stores {
		all.Go(func() {
			defer store.Close()
			for range 50 {
				release, err := store.LockStep(t.Context(), nil, names[i]...)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, name := range names[i] {
					if has[name] {
						t.Errorf("two have %s", name)
					}
					has[name] = true
				}
				mu.Unlock()
				mu.Lock()
				for _, name := range names[i] {
					delete(has, name)
				}
				mu.Unlock()
				release()
			}
		})
	}
	all.Wait()
	if info, err := s.private.Stat(stepsFile); err != nil || info.Size() != 0 {
		t.Errorf("%v, %v", info, err)
	}
}
