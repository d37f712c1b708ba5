//go:build linux

package builder

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oakum-build/oakum/builder/event"
	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/protocol"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/builder/isolation"
	"github.com/oakum-build/oakum/storage"
)

// standIn serves what the tests of events need: stages that pull what they start from, and
// steps that do nothing.
func standIn() *wire.Server {
	s := wire.NewServer(protocol.Encode, nil)
	wire.Handle(s, func(context.Context, *wire.Call, protocol.Hello) (isolation.Means, error) {
		return isolation.Means{}, nil
	})
	wire.Handle(s, func(_ context.Context, call *wire.Call, p protocol.Open) (opened storage.Detail, err error) {
		if p.From == nil {
			return opened, nil
		}
		call.Event(protocol.Event{Pull: p.From.Ref})
		err = fmt.Errorf("%s: %w", p.From.Ref, storage.ErrNotFound)
		call.Event(protocol.Event{Pulled: p.From.Ref, Failed: protocol.Encode(err)})
		return opened, err
	})
	wire.Handle(s, func(_ context.Context, call *wire.Call, p protocol.Mkdir) (protocol.Stepped, error) {
		call.Event(protocol.Event{Warning: "made " + p.Dir})
		return protocol.Stepped{Changed: true, Layer: "l"}, nil
	})
	wire.Handle(s, func(context.Context, *wire.Call, protocol.Images) ([]storage.Image, error) { return nil, nil })
	wire.Handle(s, func(context.Context, *wire.Call, protocol.CloseStage) (wire.None, error) { return wire.None{}, nil })
	return s
}

// listened is a Builder with a sink, and a stage of it.
func listened(t *testing.T, events func(event.Event)) (*Builder, *Stage) {
	t.Helper()
	b, err := OpenOver(t.Context(), standIn().Local(), Options{Events: events})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	s, err := b.Stage(t.Context(), Scratch, StageOptions{Name: "stage", Build: "build"})
	if err != nil {
		t.Fatal(err)
	}
	return b, s
}

// within fails when f takes longer than nothing that hangs takes.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(2 * time.Minute):
		t.Fatal(what + " hangs")
	}
}

func TestSinkThatBlocks(t *testing.T) {
	t.Parallel()
	forever := make(chan struct{})
	defer close(forever)
	for name, end := range map[string]func(b *Builder, cancel func()){
		"cancel": func(_ *Builder, cancel func()) { cancel() },
		"close":  func(b *Builder, _ func()) { b.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			blocked := make(chan struct{})
			b, s := listened(t, func(event.Event) { close(blocked); <-forever })
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() { <-blocked; end(b, cancel) }()
			within(t, "the step", func() {
				if _, err := s.Workdir(ctx, "/w", ""); !errors.Is(err, context.Canceled) && !errors.Is(err, ErrClosed) {
					t.Errorf("got error %v", err)
				}
			})
			if name == "cancel" { // others are not held up
				within(t, "the next step", func() {
					if _, err := s.Workdir(t.Context(), "/w", ""); err != nil {
						t.Error(err)
					}
				})
			}
			within(t, "Close", func() { b.Close() })
		})
	}
}

func TestSinkThatPanics(t *testing.T) {
	t.Parallel()
	var on event.Kind
	b, s := listened(t, func(e event.Event) {
		if e.Kind == on {
			panic("at " + e.Kind)
		}
	})
	for _, kind := range []event.Kind{event.StepStarted, event.Warning, event.StepFinished, ""} {
		on = kind
		before := len(s.history)
		step, err := s.Workdir(t.Context(), "/w", "")
		if kind == "" {
			if err != nil {
				t.Errorf("without a panic: %v", err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), "Options.Events panicked: at "+string(kind)) {
			t.Errorf("%s: got error %v", kind, err)
		}
		if done := kind == event.StepFinished; done != (step.Layer == "l") || done != (len(s.history) > before) {
			t.Errorf("%s: %+v, and %d entries in the history after %d", kind, step, len(s.history), before)
		}
	}
	on = event.PullFinished
	if _, err := b.Stage(t.Context(), "missing", StageOptions{}); !errors.Is(err, ErrImageNotFound) {
		t.Errorf("a call that has an error of its own: %v", err)
	}
}

func TestSinkThatCallsBack(t *testing.T) {
	t.Parallel()
	var b *Builder
	var s *Stage
	ready := make(chan struct{})
	var kinds []event.Kind
	b, s = listened(t, func(e event.Event) {
		<-ready
		kinds = append(kinds, e.Kind)
		// What a busy sink was left is delivered while the Builder is closed.
		if _, err := b.Images(t.Context()); err != nil && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		if e.Kind == event.StepStarted && e.Step == "first" {
			_ = s.Config() // the step waits for this event, the first of all, and so the stage is nobody else's
			// A step in the sink: its events come after this one.
			other, err := b.Stage(t.Context(), Scratch, StageOptions{})
			if err == nil {
				_, err = other.Workdir(t.Context(), "/v", "")
			}
			if err != nil {
				t.Error(err)
			}
		}
		if e.Kind == event.StepFinished && e.Step == "last" {
			b.Close()
		}
	})
	close(ready)
	within(t, "a step", func() {
		if _, err := s.Workdir(t.Context(), "/w", "first"); err != nil {
			t.Error(err)
		}
	})
	within(t, "the last step", func() { _, _ = s.Workdir(t.Context(), "/w", "last") })
	within(t, "Close", func() { b.Close() })
	if _, err := s.Workdir(t.Context(), "/w", ""); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if n := len(kinds); n != 9 {
		t.Errorf("%d events: %v", n, kinds)
	}
}

// What was sent before Close is delivered, and nothing begins after it.
func TestSinkAtTheEnd(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	begun, closed := 0, false
	b, s := listened(t, func(event.Event) {
		mu.Lock()
		begun++
		if closed {
			t.Error("an event began after Close")
		}
		mu.Unlock()
		time.Sleep(time.Millisecond)
	})
	var all sync.WaitGroup
	for range 10 {
		fork, err := s.Fork(t.Context(), StageOptions{})
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			if _, err := fork.Workdir(t.Context(), "/w", ""); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	b.Close()
	mu.Lock()
	closed = true
	if begun != 30 {
		t.Errorf("%d of 30 events were delivered", begun)
	}
	mu.Unlock()
	_, _ = s.Workdir(t.Context(), "/w", "")
}

// Builds that run side by side on one Builder are told apart by their events, those of pulls
// among them.
func TestEventsOfTwoBuilds(t *testing.T) {
	t.Parallel()
	var got []event.Event
	b, _ := listened(t, func(e event.Event) { got = append(got, e) })
	var all sync.WaitGroup
	for _, build := range []string{"a", "b"} {
		all.Go(func() {
			for range 20 {
				if _, err := b.Stage(t.Context(), "image-of-"+build, StageOptions{Name: "base", Build: build}); !errors.Is(err, errdefs.ErrNotFound) && !errors.Is(err, ErrImageNotFound) {
					t.Errorf("got error %v", err)
				}
				s, err := b.Stage(t.Context(), Scratch, StageOptions{Name: "final", Build: build})
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := s.Workdir(t.Context(), "/"+build, build+s.ID()); err != nil {
					t.Error(err)
				}
				s.Close()
			}
		})
	}
	all.Wait()
	b.Close()
	ids := map[string]string{}
	for _, e := range got {
		where := e.Build + " " + e.Stage
		if owner, known := ids[e.StageID]; known && owner != where || e.StageID == "" {
			t.Errorf("the id %q is of %q and of %q", e.StageID, owner, where)
		}
		ids[e.StageID] = where
		fine := e.Ref == "image-of-"+e.Build && e.Stage == "base"
		switch e.Kind {
		case event.StepStarted, event.StepFinished:
			fine = e.Step == e.Build+e.StageID && e.Stage == "final"
		case event.Warning:
			fine = e.Text == "made /"+e.Build
		case event.PullFinished:
			fine = fine && errors.Is(e.Err, ErrImageNotFound)
		}
		if !fine || e.Time.IsZero() {
			t.Errorf("event %+v", e)
		}
	}
	if len(got) != 200 || len(ids) != 80 {
		t.Errorf("%d events of %d stages", len(got), len(ids))
	}
}

// One who sends one event after the other finds each delivered: the sink is at rest again
// when send has returned.
func TestSinkIsAtRest(t *testing.T) {
	t.Parallel()
	got := 0
	s := newSink(func(event.Event) { got++ })
	for i := range 20000 {
		s.send(t.Context(), event.Event{}, func(any, []byte) {})
		if got != i+1 {
			t.Fatalf("%d events delivered of %d", got, i+1)
		}
	}
}
