package builder

import (
	"context"
	"encoding/json"
	"errors"
	"sync"

	"github.com/oakum-build/oakum/builder/internal/protocol/handover"
	"github.com/oakum-build/oakum/builder/internal/wire"
)

// looking is the way to a worker that is not started before it is needed. Until then calls are answered by a looker, in
// this process, which gives an error for whatever it cannot tell. Then the worker is started, and takes over the stages
// that are open with what they have come to. All further calls go to it.
type looking struct {
	looker wire.Conn
	close  func() error // gives back what the looker has, once its Conn is closed
	begin  beginner
	ended  context.Context // when it is closed
	end    context.CancelFunc

	mu     sync.RWMutex // held for reading while the looker is asked
	worker wire.Conn    // once there is one; nobody is asked but it then
}

// Call asks the looker, and when that does not know, the worker. Nobody is told what the looker tells before it has the answer.
func (l *looking) Call(ctx context.Context, out wire.Outgoing) (json.RawMessage, error) {
	l.mu.RLock()
	worker := l.worker
	if worker == nil {
		result, events, err := l.look(ctx, out)
		l.mu.RUnlock()
		if err == nil {
			for _, raw := range events {
				out.Event(raw)
			}
			return result, nil
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if worker, err = l.start(ctx); err != nil {
			return nil, err
		}
	} else {
		l.mu.RUnlock()
	}
	return worker.Call(ctx, out)
}

// look asks the looker. A call with files is not asked, for who reads a stream uses it up.
func (l *looking) look(ctx context.Context, out wire.Outgoing) (result json.RawMessage, events []json.RawMessage, err error) {
	if len(out.Files) > 0 {
		return nil, nil, errors.ErrUnsupported
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.ended, cancel)()
	asked := out
	asked.Event = func(raw json.RawMessage) {
		if out.Event != nil {
			events = append(events, raw)
		}
	}
	asked.Answers = nil // the user is asked for nothing
	result, err = l.looker.Call(ctx, asked)
	return result, events, err
}

// start starts the worker, unless there is one, once nobody looks any more.
func (l *looking) start(ctx context.Context) (wire.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.ended, cancel)()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended.Err() != nil {
		return nil, wire.ErrGone
	}
	if l.worker != nil {
		return l.worker, nil
	}
	conn, end, err := l.begin(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	err = l.handOver(ctx, conn)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close()
		end()
		return nil, err
	}
	l.worker = conn
	l.giveBack()
	return conn, nil
}

// handOver has a worker go on with the stages that are open.
func (l *looking) handOver(ctx context.Context, worker wire.Conn) error {
	stages, err := wire.Do(ctx, l.looker, handover.Ask{}, wire.With{})
	if err == nil && len(stages.Stages)+len(stages.Told) > 0 {
		_, err = wire.Do(ctx, worker, stages, wire.With{})
	}
	return err
}

// giveBack ends the looker.
func (l *looking) giveBack() {
	_ = l.looker.Close()
	_ = l.close()
}

// Close ends the worker, if there is one.
func (l *looking) Close() error {
	l.end()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.worker != nil:
		return l.worker.Close()
	case l.close != nil:
		l.giveBack()
	}
	l.close = nil
	return nil
}
