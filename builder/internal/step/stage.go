//go:build linux

package step

import (
	"context"
	"sync"
	"time"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/storage"
)

// Options say how a stage's steps are done.
type Options struct {
	// NoCache does every step anew. Stages with NoCache and the same Build, unless that is "",
	// do a step that is equal in several of them once.
	NoCache bool
	Build   string
	// Lookup only looks steps up, also on layers that are gone; others fail with errdefs.ErrUncached.
	Lookup bool
	// TTL, when not 0, is how old a result may be that is found.
	TTL time.Duration
	// Image is the layer of the image that the stage is on, below all steps, also those of stages that it
	// was forked from.
	Image *storage.Layer
	// Times are those of the files of new layers, and WorkdirTimes those of the directories
	// that a workdir step makes. nil leaves them.
	Times, WorkdirTimes *Times
	// Came is told of each layer that the stage comes to, first that which it begins with; it may be
	// nil. It must return at once.
	Came func(*storage.Layer)
	// Cache is what the stage has from elsewhere and gives to it; nil is nothing.
	Cache *Cache
	// Origin is told of in explanations, which Explain asks for; they are given to
	// Operation.Explained.
	Origin  Origin
	Explain bool
}

// Stage is the files of a stage: the layer that it has come to, which is in use, and how its
// steps are done. One step at a time is done on it; all else may be called at any time.
type Stage struct {
	engine *Engine
	opts   Options

	opened   time.Time
	fetching chan struct{} // held while layers are fetched

	mu     sync.Mutex
	layer  *storage.Layer
	use    *storage.Use
	number int // of steps that were done
}

// Open makes a stage that begins with a layer, nil for the empty root.
func (e *Engine) Open(base *storage.Layer, opts Options) *Stage {
	s := &Stage{engine: e, opts: opts, opened: time.Now(), layer: base, use: e.store.Use(base.Here()), fetching: make(chan struct{}, 1)}
	e.join(s)
	s.came()
	return s
}

// Steps is how many steps the stage has had.
func (s *Stage) Steps() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.number
}

// Resume is Open for a stage that was opened elsewhere and has come to a layer, by some steps.
func (e *Engine) Resume(at *storage.Layer, steps int, opts Options) *Stage {
	s := e.Open(at, opts)
	s.number = steps
	return s
}

// Options are what the stage was opened with.
func (s *Stage) Options() Options { return s.opts }

// Top is the layer that the stage has come to.
func (s *Stage) Top() *storage.Layer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.layer
}

// Claimed is Present for who reads or mounts its files: others cannot remove it now.
func (s *Stage) Claimed(ctx context.Context, reach Reach) (*storage.Layer, error) {
	if _, err := s.Present(ctx, reach); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.layer, s.use.Claim()
}

// Present is Top with its files: what is not here is fetched. It fails with errdefs.ErrUncached where it cannot be
// had, or the stage only looks up.
func (s *Stage) Present(ctx context.Context, reach Reach) (*storage.Layer, error) {
	if l := s.Top(); !l.Gone() {
		return l, nil
	}
	select {
	case s.fetching <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-s.fetching }()
	l := s.Top()
	if !l.Gone() {
		return l, nil
	}
	if s.opts.Lookup || !l.IsElsewhere() || s.opts.Cache == nil {
		return nil, errdefs.ErrUncached
	}
	got, err := s.opts.Cache.fetch(ctx, reach, l, s.use)
	if err != nil {
		return nil, err
	}
	s.set(got)
	return got, nil
}

// set has the stage come to a layer that was made on it.
func (s *Stage) set(l *storage.Layer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.layer = l
	s.number++
	s.use.Move(l.Here())
	s.came()
}

// take has the stage come to a layer that was found. It fails with storage.ErrRemoved when that is not there any
// more; then the stage is where it was.
func (s *Stage) take(l *storage.Layer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.use.Take(l.Here()); err != nil {
		return err
	}
	s.layer = l
	s.came()
	return nil
}

// came tells of the layer, as far as it is there.
func (s *Stage) came() {
	if l := s.layer.Here(); s.opts.Came != nil && l != nil {
		s.opts.Came(l)
	}
}

// Wait waits until the stage's layers are registered.
func (s *Stage) Wait() { _ = s.Top().Wait(context.Background()) }

// Close ends the stage. It does not wait: who ends the process must, or what later builds could
// reuse is lost. It must be called once.
func (s *Stage) Close() {
	s.engine.quit(s)
	s.use.Close()
}
