//go:build linux

package step

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/oakum-build/oakum/builder/explain"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/fingerprints"
	"github.com/oakum-build/oakum/storage/records"
)

// Inputs are what an operation reads, for who explains a step.
type Inputs interface {
	// Listed are the files as far as they have been walked, and the digests of the inputs where
	// there are several.
	Listed() (lists []*fingerprints.Listing, parts []string)
	// List gives the files whose digest Content has given, false where they cannot be had.
	List(ctx context.Context) (files []fingerprints.File, ok bool)
}

// Origin is where a stage comes from, as far as explanations tell of it.
type Origin struct {
	Name             string // the stage's
	Base, BaseDigest string // the image that it is on, below all steps
}

// memory is what the engine knows of steps that were done, to explain others.
type memory struct {
	mu      sync.Mutex
	known   map[string]fingerprints.Step // by key; nil before it is asked for
	pending map[chan struct{}]bool       // closed when one more is known
}

// made is what is kept of a step that was done, beside its record.
type made struct {
	fingerprints.Step
	lists []*fingerprints.Listing
	parts []string
	known chan struct{}
}

// mark begins to keep a step.
func (s *Stage) mark(op Operation) made {
	m := made{Step: s.identity(), known: make(chan struct{})}
	if op.Inputs != nil {
		m.lists, m.parts = op.Inputs.Listed()
	}
	mem := &s.engine.memory
	mem.mu.Lock()
	defer mem.mu.Unlock()
	if mem.pending == nil {
		mem.pending = map[chan struct{}]bool{}
	}
	mem.pending[m.known] = true
	return m
}

// identity is what a fingerprint says of the stage and of the step's place in it.
func (s *Stage) identity() fingerprints.Step {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := s.opts.Origin
	return fingerprints.Step{Stage: from.Name, Number: s.number, Base: from.Base, BaseDigest: from.BaseDigest, Done: time.Now()}
}

// keepMark keeps what was marked, once the step's layer is registered. It is told to nobody when that
// fails: it is of use to explanations alone.
func (e *Engine) keepMark(m made, below *storage.Layer, rest []byte, key Key, times *Times, out outcome) {
	defer func() {
		e.memory.mu.Lock()
		delete(e.memory.pending, m.known)
		e.memory.mu.Unlock()
		close(m.known)
	}()
	if out.layer.Wait(context.Background()) != nil {
		return
	}
	kept := e.store.Fingerprints()
	if err := e.complete(&m.Step, below, rest, key, times); err != nil {
		e.warn(err)
		return
	}
	m.Content = out.content
	for _, l := range m.lists {
		if err := kept.PutListing(l); err != nil {
			e.warn(err)
		}
	}
	if m.parts != nil {
		if err := kept.PutParts(out.content, m.parts); err != nil {
			e.warn(err)
		}
	}
	if err := kept.Put(m.Step); err != nil {
		e.warn(err)
	}
	e.memory.mu.Lock()
	defer e.memory.mu.Unlock()
	if e.memory.known != nil {
		e.memory.known[m.Key] = m.Step
	}
}

// complete adds what a key is made of. The layer below is registered.
func (e *Engine) complete(f *fingerprints.Step, below *storage.Layer, rest []byte, key Key, times *Times) error {
	chain, _ := below.Chain()
	f.Key, f.Below, f.Operation, f.Parts = sum(chain, rest), string(chain), key.operation(), map[string]fingerprints.Sum{}
	var failed error
	eachPart(key, times, func(name string, value []byte) {
		s, err := e.store.Fingerprints().Sum(value)
		f.Parts[name], failed = s, cmp.Or(failed, err)
	})
	return failed
}

// steps gives the fingerprints that there are, those too that are just being kept.
func (e *Engine) steps(ctx context.Context) ([]fingerprints.Step, error) {
	mem := &e.memory
	mem.mu.Lock()
	waiting := slices.Collect(maps.Keys(mem.pending))
	mem.mu.Unlock()
	for _, known := range waiting {
		select {
		case <-known:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	mem.mu.Lock()
	defer mem.mu.Unlock()
	if mem.known == nil {
		all, err := e.store.Fingerprints().All()
		if err != nil {
			return nil, err
		}
		mem.known = make(map[string]fingerprints.Step, len(all))
		for _, s := range all {
			mem.known[s.Key] = s
		}
	}
	return slices.Collect(maps.Values(mem.known)), nil
}

// found tells of a step that was found.
func (s *Stage) found(below *storage.Layer, rest []byte, op Operation, out *outcome) {
	if op.Explained == nil || !out.cached {
		return
	}
	chain, _ := below.Chain()
	told := explain.Step{Cached: true, From: cmp.Or(out.from, s.opts.Cache.source(out, sum(chain, rest)), explain.Store)}
	if out.layer != below && out.layer != nil && told.From != explain.Build {
		told.Created, told.Size = out.layer.Created(), out.layer.Size()
	}
	op.Explained(told)
}

// source names the cache elsewhere in which a step of a key was found; "" is none.
func (c *Cache) source(out *outcome, key string) string {
	if c == nil || out.found && !out.layer.Gone() {
		return ""
	}
	chain, _ := out.layer.Chain()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.supplies {
		if slices.ContainsFunc(s.Records, func(r records.Record) bool { return r.Key == key && r.Chain == chain }) {
			return s.At.String()
		}
	}
	return ""
}

// missed tells of a step that was not found why. It fails where the step would, for what it reads cannot be
// read; what else goes wrong stops nothing.
func (s *Stage) missed(ctx context.Context, below *storage.Layer, rest []byte, op Operation) error {
	if op.Explained == nil {
		return nil
	}
	content := ""
	if op.Content != nil && !s.opts.NoCache {
		var err error
		if content, err = op.Content(ctx); err != nil {
			return err
		}
	}
	told, err := s.whyMissed(ctx, below, rest, op, content)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.engine.warn(err)
		told.Cause = explain.Unknown
	}
	op.Explained(told)
	return nil
}

func (s *Stage) whyMissed(ctx context.Context, below *storage.Layer, rest []byte, op Operation, content string) (told explain.Step, err error) {
	if s.opts.NoCache {
		return explain.Step{Cause: explain.NoCache}, nil
	}
	_, looked := below.Chain() // else the layer below is just being made, and nothing was looked up on it
	if err := below.Wait(ctx); err != nil {
		return told, err
	}
	now := s.identity()
	if err := s.engine.complete(&now, below, rest, op.Key, s.opts.Times); err != nil {
		return told, err
	}
	now.Content = content
	recs, more, _, err := s.engine.recorded(ctx, now.Key, Operation{Content: func(context.Context) (string, error) { return content, nil }}, s.opts.Cache)
	if err != nil {
		return told, err
	}
	if recs = append(recs, more...); len(recs) > 0 && looked {
		told = explain.Step{Cause: explain.Removed, Since: recs[0].Created}
		if len(s.opts.young(recs)) == 0 {
			told.Cause = explain.Expired
		}
		return told, nil
	}
	all, err := s.engine.steps(ctx)
	if err != nil {
		return told, err
	}
	all = slices.DeleteFunc(all, func(f fingerprints.Step) bool { return f.Done.After(s.opened) })
	before, ok := nearest(all, now, op.Change.Apart)
	if !ok {
		return explain.Step{Cause: explain.New}, nil
	}
	c := comparison{before: before, now: now}
	if !op.Change.Apart {
		c.layers(s.onImage(below), looked)
	}
	c.parts()
	if before.Content != now.Content {
		c.files(ctx, s.engine.store.Fingerprints(), op)
	}
	told = explain.Step{Cause: explain.Changed, Since: before.Done, Changes: c.changes, More: c.more}
	if len(c.changes) == 0 {
		told.Cause = explain.Unknown
	}
	return told, nil
}

// onImage says that a layer is that of the image which the stage is on.
func (s *Stage) onImage(l *storage.Layer) bool {
	chain, _ := l.Chain()
	image, known := s.opts.Image.Chain()
	return known && chain == image
}
