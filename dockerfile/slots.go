package dockerfile

import (
	"slices"
	"sync"
)

// slots bounds how many stages build at once. Those that can go on are served in
// the order in which they came, so that a build with one slot always takes its
// stages in the same order.
type slots struct {
	mu    sync.Mutex
	free  int
	queue []ticket
}

// ticket is a place in the queue.
type ticket struct {
	after  <-chan struct{} // not served before this is closed; nil is at once
	served chan struct{}   // closed when the slot is taken
}

// ready says whether the ticket can be served.
func (t ticket) ready() bool {
	if t.after == nil {
		return true
	}
	select {
	case <-t.after:
		return true
	default:
		return false
	}
}

// enter queues for a slot, to be had once after is closed (nil is at once) by
// someone who then leaves a slot. It is taken when the channel returned is closed. Who does not wait for that
// withdraws.
func (s *slots) enter(after <-chan struct{}) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := ticket{after: after, served: make(chan struct{})}
	s.queue = append(s.queue, t)
	s.serve()
	return t.served
}

// withdraw gives up what enter returned, and the slot with it where that was taken meanwhile: building anew
// (see building) has the same slots.
func (s *slots) withdraw(served <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.IndexFunc(s.queue, func(t ticket) bool { return t.served == served }); i >= 0 {
		s.queue = slices.Delete(s.queue, i, i+1)
		return
	}
	s.free++
	s.serve()
}

// leave gives a slot back.
func (s *slots) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free++
	s.serve()
}

// serve gives free slots to those who can go on. The caller holds mu.
func (s *slots) serve() {
	for s.free > 0 {
		i := slices.IndexFunc(s.queue, ticket.ready)
		if i < 0 {
			return
		}
		close(s.queue[i].served)
		s.queue = slices.Delete(s.queue, i, i+1)
		s.free--
	}
}
