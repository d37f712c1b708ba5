package builder

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/oakum-build/oakum/builder/event"
	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/protocol"
	"github.com/oakum-build/oakum/builder/internal/protocol/question"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/storage/authfile"
)

// undoing is how long the worker has to undo a call that was cancelled. One that takes
// longer hangs, and is killed with all that it does; the next to open the store removes
// what it leaves there.
const undoing = 10 * time.Second

// call does a call of the worker and gives errors of this package.
func call[Q wire.Request[R], R any](ctx context.Context, b *Builder, q Q) (R, error) {
	return callWith(ctx, b, nil, q, wire.With{})
}

// callFor is call for a stage, whose events those of the call are.
func callFor[Q wire.Request[R], R any](ctx context.Context, s *Stage, q Q) (R, error) {
	return callWith(ctx, s.b, s, q, wire.With{})
}

// callWith is call for a stage, or none, with files for the worker, and answers of the call's own
// if there are any.
func callWith[Q wire.Request[R], R any](ctx context.Context, b *Builder, s *Stage, q Q, with wire.With) (R, error) {
	var none R
	if !b.begin() {
		return none, ErrClosed
	}
	defer b.calls.Done()
	done := make(chan struct{})
	defer close(done)
	defer context.AfterFunc(ctx, func() { b.expectEnd(done) })()
	t := b.teller(s)
	with.Event = func(raw json.RawMessage) { t.pass(ctx, raw) }
	with.Answers = cmp.Or(with.Answers, b.answers)
	result, err := wire.Do[Q, R](ctx, b.conn, q, with)
	err = t.or(err)
	var w *wire.Error
	if errors.As(err, &w) && w.Kind == "" && b.isClosed() {
		return none, ErrClosed // the worker gave the call up
	}
	return result, public(err)
}

// begin notes that a call is under way, unless the Builder is closed.
func (b *Builder) begin() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.calls.Add(1)
	return true
}

func (b *Builder) isClosed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

// expectEnd waits until a call that was cancelled is done, and kills the worker when that
// takes too long.
func (b *Builder) expectEnd(done <-chan struct{}) {
	b.cancelled.Add(1)
	defer b.cancelled.Add(-1)
	select {
	case <-done:
	case <-time.After(undoing):
		if proc := b.worker(); proc != nil {
			_ = b.conn.Close()
			proc.Kill()
		}
	}
}

// answering does for the worker what needs the environment of this process.
func (b *Builder) answering() *wire.Server {
	s := wire.NewServer(protocol.Encode, nil)
	wire.Handle(s, func(ctx context.Context, _ *wire.Call, q question.Logins) (authfile.Logins, error) {
		return authfile.Find(ctx, q.AuthFile, q.Repositories)
	})
	b.answerPlaces(s)
	return s
}

// pass passes an event of the worker on.
func (t *teller) pass(ctx context.Context, raw json.RawMessage) {
	var e protocol.Event
	if err := wire.Unmarshal(raw, &e); err != nil {
		return
	}
	switch {
	case e.Pull != "":
		t.tell(ctx, event.Event{Kind: event.PullStarted, Ref: e.Pull})
	case e.Pulled != "":
		done := event.Event{Kind: event.PullFinished, Ref: e.Pulled, Duration: e.Took}
		if e.Failed != nil {
			done.Err = public(e.Failed)
		}
		t.tell(ctx, done)
	case e.Moved != nil:
		moved := event.Event{Kind: event.PullProgress, Ref: e.Moved.Ref, Blob: e.Moved.Blob.String(), Offset: e.Moved.Offset, Size: e.Moved.Size}
		if e.Moved.Pushed {
			moved.Kind = event.PushProgress
		}
		t.tell(ctx, moved)
	case e.Explained != nil:
		t.explained(ctx, *e.Explained)
	case e.Warning != "":
		t.tell(ctx, event.Event{Kind: event.Warning, Text: e.Warning})
	}
}

// public gives an error of a call the type that this package promises.
func public(err error) error {
	if errors.Is(err, wire.ErrGone) {
		return ErrClosed
	}
	var crossed *wire.Error
	if !errors.As(err, &crossed) {
		return err
	}
	return exported(protocol.Decode(crossed))
}

// exported gives an error of the worker the type that this package has for it, if that is another.
func exported(err error) error {
	switch e := err.(type) {
	case *errdefs.HostError:
		return &HostError{Missing: e.Missing, Fix: e.Remedy}
	case *LayerError:
		return &LayerError{Layer: e.Layer, Err: exported(e.Err)}
	}
	return err
}
