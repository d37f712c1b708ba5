//go:build linux

package step

import (
	"context"
	"errors"
	"fmt"

	"github.com/oakum-build/oakum/storage"
)

// A step that several want at once is done by one of them, and found by the others. Within the process that is so from the
// look-up on (claim). Other processes are only kept off when the step was not found (Store.LockStep): so what is in
// the cache costs nothing. It is looked up once more then, since somebody may have done it in between.

// claims names a step on a layer for those who would do the same: by the layer, which is known
// at once, and by its chain ID when that is known. The layer's name alone would be enough for
// two stages that have the same layer, and they nearly always do.
func claims(below *storage.Layer, rest []byte) []string {
	var names []string
	if !below.Gone() {
		names = append(names, "layer "+below.ID()+" "+string(rest))
	}
	if chain, known := below.Chain(); known {
		names = append(names, "chain "+string(chain)+" "+string(rest))
	}
	return names
}

// claim waits until nobody else has one of the names, and takes them all until they are
// released.
func (e *Engine) claim(ctx context.Context, names ...string) (release func(), err error) {
	for {
		busy := e.take(names)
		if busy == nil {
			return func() { e.leave(names) }, nil
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take takes names, or gives what is closed once one of them is free.
func (e *Engine) take(names []string) (busy chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, name := range names {
		if busy, ok := e.busy[name]; ok {
			return busy
		}
	}
	mine := make(chan struct{})
	for _, name := range names {
		e.busy[name] = mine
	}
	return nil
}

func (e *Engine) leave(names []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	close(e.busy[names[0]])
	for _, name := range names {
		delete(e.busy, name)
	}
}

// tries is how often a step is looked up again whose layer was removed while it was found.
const tries = 3

// look looks a step up, and takes the stage to what was found. It gives nil for a step that must be done.
func (s *Stage) look(ctx context.Context, below *storage.Layer, name string, rest []byte, op Operation) (*outcome, error) {
	for range tries {
		out, err := s.find(ctx, below, name, rest, op)
		if err != nil || out == nil {
			return nil, err
		}
		if err = s.take(out.layer); err == nil {
			out.below = below
			return out, nil
		}
		if !errors.Is(err, storage.ErrRemoved) {
			return nil, err
		}
	}
	return nil, nil
}

// makeAlone makes a step that was not found, while no other process does the same step, until release. What another one
// has given meanwhile is found.
func (s *Stage) makeAlone(ctx context.Context, below *storage.Layer, names []string, rest []byte, op Operation) (out *outcome, release func(), err error) {
	release = func() {}
	if !s.opts.NoCache && !s.opts.Lookup {
		if release, err = s.engine.lock(ctx, names, op); err != nil {
			return nil, func() {}, err
		}
		if out, err = s.look(ctx, below, names[0], rest, op); err != nil || out != nil {
			return out, release, err
		}
	}
	for range tries {
		if out, err = s.make(ctx, rest, op); err != nil {
			if errors.Is(err, ErrFound) {
				continue // and has gone since
			}
			return nil, release, err
		}
		out.below = s.Top()
		if !out.found {
			return out, release, nil
		}
		if err = s.take(out.layer); !errors.Is(err, storage.ErrRemoved) {
			return out, release, err
		}
	}
	return nil, release, err
}

// lock keeps other processes from a step. Where the store's file system cannot lock, they are not, and it is
// done twice.
func (e *Engine) lock(ctx context.Context, names []string, op Operation) (release func(), err error) {
	waiting := func() {
		if op.Note != nil {
			op.Note("waiting for another process that is doing the same step")
		}
	}
	release, err = e.store.LockStep(ctx, waiting, names...)
	if err != nil && ctx.Err() == nil {
		e.warn(fmt.Errorf("a step that another process does at the same time is done twice: %w", err))
		return func() {}, nil
	}
	return release, err
}

// once gives what digests a content the first time it is asked, and remembers that.
func once(content func(context.Context) (string, error)) func(context.Context) (string, error) {
	if content == nil {
		return nil
	}
	known := false
	var digest string
	return func(ctx context.Context) (string, error) {
		if known {
			return digest, nil
		}
		var err error
		digest, err = content(ctx)
		known = err == nil
		return digest, err
	}
}
