package dockerfile

import (
	"context"
	"testing"
)

// Nobody has a slot any more who was cancelled while waiting for it, whether it was taken for them or not.
func TestSlotsAreGivenBack(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := &slots{free: 1}
	has := func(queued <-chan struct{}) bool {
		select {
		case <-queued:
			return true
		default:
			return false
		}
	}
	first := s.enter(nil)
	waits := &task{building: &building{shared: &shared{slots: s}}}
	if err := waits.enter(ctx, s.enter(nil)); err == nil {
		t.Error("a task that was cancelled goes on")
	}
	waits.leave()
	s.leave()
	if !has(first) || s.free != 1 || len(s.queue) > 0 {
		t.Errorf("%d slots are free, and %d wait", s.free, len(s.queue))
	}
	// The slot is taken just when its task is cancelled: either is seen first.
	for range 100 {
		served := &task{building: &building{shared: &shared{slots: s}}}
		_ = served.enter(ctx, s.enter(nil))
		served.leave()
		if s.free != 1 || len(s.queue) > 0 {
			t.Fatalf("%d slots are free, and %d wait", s.free, len(s.queue))
		}
	}
}
