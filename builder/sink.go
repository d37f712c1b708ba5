package builder

import (
	"cmp"
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/oakum-build/oakum/builder/event"
)

// sink gives events to Options.Events, one at a time and in their order, from a goroutine of
// its own: whatever is done there, no lock of the Builder is held meanwhile.
type sink struct {
	deliver func(event.Event)
	// refused is closed when events are refused, which lets who waits go on.
	refused chan struct{}

	mu       sync.Mutex
	queue    []delivery
	idle     chan struct{} // closed when the goroutine has ended; nil when there is none
	refusing bool          // events come too late
	stopped  bool          // no event is begun any more
	dealt    int           // how many events were dealt with
}

// delivery is an event on its way.
type delivery struct {
	event  event.Event
	failed func(cause any, stack []byte) // told that deliver panicked
	done   chan struct{}
}

func newSink(deliver func(event.Event)) *sink {
	return &sink{deliver: deliver, refused: make(chan struct{})}
}

// send delivers an event. When the sink is at rest it waits until the event was dealt with, or
// ctx ends, or the sink is closed. When the sink is busy, possibly with what calls send, it
// does not wait.
func (s *sink) send(ctx context.Context, e event.Event, failed func(cause any, stack []byte)) {
	if s.deliver == nil {
		return
	}
	d := delivery{e, failed, make(chan struct{})}
	s.mu.Lock()
	if s.refusing {
		s.mu.Unlock()
		return
	}
	s.queue = append(s.queue, d)
	busy := s.idle != nil
	if !busy {
		s.idle = make(chan struct{})
		go s.drain(s.idle)
	}
	s.mu.Unlock()
	if busy {
		return
	}
	select {
	case <-d.done:
	case <-ctx.Done():
	case <-s.refused:
	}
}

// drain delivers what is queued.
func (s *sink) drain(idle chan struct{}) {
	defer close(idle)
	for {
		s.mu.Lock()
		if s.stopped || len(s.queue) == 0 {
			s.queue, s.idle = nil, nil
			s.mu.Unlock()
			return
		}
		d := s.queue[0]
		s.queue = s.queue[1:]
		s.mu.Unlock()
		s.one(d)
		s.mu.Lock()
		s.dealt++
		last := len(s.queue) == 0
		if last {
			s.idle = nil // before the call goes on, which else might find the sink busy with its last event
		}
		s.mu.Unlock()
		close(d.done)
		if last {
			return
		}
	}
}

func (s *sink) one(d delivery) {
	defer func() {
		if r := recover(); r != nil {
			d.failed(r, debug.Stack())
		}
	}()
	s.deliver(d.event)
}

// refuse takes no more events and lets all that wait go on.
func (s *sink) refuse() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.refusing {
		s.refusing = true
		close(s.refused)
	}
}

// lastEvent is how long stop waits for each event that is still to be delivered. A sink that hangs, or that
// closes the Builder itself, must not hold it up for longer.
const lastEvent = time.Second

// stop delivers what is queued, and begins no event after that.
func (s *sink) stop() {
	s.mu.Lock()
	idle, dealt := s.idle, -1
	for idle != nil && dealt != s.dealt {
		dealt = s.dealt
		s.mu.Unlock()
		select {
		case <-idle:
			idle = nil
		case <-time.After(lastEvent):
		}
		s.mu.Lock()
	}
	s.stopped = true
	s.mu.Unlock()
}

// teller sends the events of one call or step, and keeps the error of a sink that panics for it.
type teller struct {
	b     *Builder
	stage *Stage // nil for what belongs to none

	mu  sync.Mutex
	err error
}

func (b *Builder) teller(stage *Stage) *teller { return &teller{b: b, stage: stage} }

func (t *teller) tell(ctx context.Context, e event.Event) {
	e.Time = time.Now()
	if s := t.stage; s != nil {
		e.Build, e.Stage, e.StageID = s.build, s.name, s.id
	}
	t.b.sink.send(ctx, e, t.fail)
}

// fail keeps a panic of the sink for the end, when that is not past already. Where it was goes
// to the log.
func (t *teller) fail(cause any, stack []byte) {
	t.b.log.Error("Options.Events panicked", "cause", cause, "stack", string(stack))
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.err = fmt.Errorf("Options.Events panicked: %v", cause)
	}
}

// or gives err, or else that of the sink.
func (t *teller) or(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return cmp.Or(err, t.err)
}
