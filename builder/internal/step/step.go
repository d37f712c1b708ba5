//go:build linux

package step

import (
	"cmp"
	"context"
	"errors"
	"slices"

	digest "github.com/opencontainers/go-digest"

	"github.com/oakum-build/oakum/builder/explain"
	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/workspace"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/records"
)

// Operation is what a step does. All of it but Key and Do may be left out.
type Operation struct {
	// Key is what the result depends on, with the layer below and the content.
	Key Key
	// Content digests what the step would read, "" where it does not know before it has
	// read it. nil is for a step that reads nothing.
	Content func(ctx context.Context) (string, error)
	// Skip says that the layer below is the result already.
	Skip func(below *storage.Layer) (bool, error)
	// Prepare is called before Do when the step was not found, and may complete the Change.
	Prepare func(ctx context.Context, c *workspace.Change) error
	// Do makes the change and gives the digest of the content that it read. With ErrFound it
	// says that it would make what there is for that content.
	Do func(ctx context.Context, ws workspace.Workspace) (string, error)
	// Change says how the layer is made. One that is made Apart depends on no layers below: it
	// is recorded without them, too, and made once more where it is to go on others.
	Change workspace.Change
	// Fetches says that the files come from a server, which still has them: a Cache gives the record to others, and
	// not the layer.
	Fetches bool
	// Note is told what the files that were made lost, for layers do not hold it.
	Note func(string)
	// Reach is how caches elsewhere are reached, for layers that the step has to see.
	Reach Reach
	// Inputs are what Content digests, and Explained is told, before Do, why the step was found or
	// not; nil for who does not ask.
	Inputs    Inputs
	Explained func(explain.Step)
}

// ErrFound is what Operation.Do gives with the content of a result that is there.
var ErrFound = errors.New("the result is in the store")

// Result is what a step did.
type Result struct {
	Cached  bool // it was found, or made of what was
	Changed bool // the stage has another layer than before
}

// outcome is the layer that a step leads to, and how.
type outcome struct {
	layer   *storage.Layer
	below   *storage.Layer // what the step was found or done on
	content string
	cached  bool
	found   bool   // nothing of it is to be recorded
	from    string // of what was found: see explain.Step
}

// Do finds an operation's layer in the cache or does it. A step that another stage is just
// doing on the same layer, in this process or another one, is waited for, and then found.
//
// Nobody else does the step until its layer is registered and recorded, which goes on after
// Do has returned.
func (s *Stage) Do(ctx context.Context, op Operation) (Result, error) {
	e, below, rest := s.engine, s.Top(), encodeKey(op.Key, s.opts.Times)
	names := claims(below, rest)
	op.Content = once(op.Content)
	release := func() {}
	if !s.opts.NoCache || s.shares() {
		var err error
		if release, err = e.claim(ctx, names...); err != nil {
			return Result{}, err
		}
	}
	out, err := s.look(ctx, below, names[0], rest, op)
	if err == nil && out == nil {
		var unlock func()
		out, unlock, err = s.makeAlone(ctx, below, names, rest, op)
		within := release
		release = func() { within(); unlock() }
	}
	if err == nil {
		below = out.below // whose files may have been fetched for it
	}
	if err != nil || out.found {
		release()
	} else {
		e.keep(s, names[0], fresh{out.content, out.layer})
		s.recordLater(below, rest, op, *out, release)
	}
	if err != nil {
		return Result{}, err
	}
	s.opts.Cache.collect(below, rest, op, *out)
	s.found(below, rest, op, out)
	changed := out.layer != below
	if !changed {
		out.layer = s.Top() // which may have been fetched since it was looked at
	}
	s.set(out.layer)
	return Result{Cached: out.cached, Changed: changed}, nil
}

// Find is Do for who can go on without: it only looks the step up.
func (s *Stage) Find(ctx context.Context, op Operation) (out Result, found bool, err error) {
	if s.opts.NoCache {
		return Result{}, false, nil
	}
	below, rest := s.Top(), encodeKey(op.Key, s.opts.Times)
	got, err := s.look(ctx, below, "", rest, op)
	if err != nil || got == nil {
		return Result{}, false, err
	}
	if !got.found {
		s.recordLater(below, rest, op, *got, func() {})
	}
	s.opts.Cache.collect(below, rest, op, *got)
	s.found(below, rest, op, got)
	s.set(got.layer)
	return Result{Cached: true, Changed: got.layer != below}, true, nil
}

// find looks a step up. It gives nil for one that must be done.
func (s *Stage) find(ctx context.Context, below *storage.Layer, name string, rest []byte, op Operation) (*outcome, error) {
	if s.opts.NoCache {
		return s.findKept(ctx, name, op)
	}
	if s.opts.Lookup {
		if err := below.Wait(ctx); err != nil {
			return nil, err
		}
	}
	chain, known := below.Chain()
	if !known {
		return nil, nil // nothing can have been done on it, but by who has just made it
	}
	key := sum(chain, rest)
	recs, more, content, err := s.engine.recorded(ctx, key, op, s.opts.Cache)
	recs, more = s.opts.young(recs), s.opts.young(more)
	if err != nil || len(recs)+len(more) == 0 {
		return nil, err
	}
	out := &outcome{content: content, cached: true, found: true}
	if l, ok := s.engine.store.LayerOf(recs, below); ok {
		out.layer = l
		return out, nil
	}
	if l, ok := s.engine.store.LayerOf(more, below); ok {
		out.layer, out.found = l, false
		return out, nil
	}
	return s.findGone(append(recs, more...), len(recs), below, chain, out), nil
}

// findGone finds a layer that is not here, but can be had, or is good enough where steps are only looked up. The first
// records are the store's own. It gives nil for none.
func (s *Stage) findGone(recs []records.Record, own int, below *storage.Layer, chain digest.Digest, out *outcome) *outcome {
	can := !below.Gone() || below.IsElsewhere()
	for i, r := range recs {
		if can && r.Below == chain && s.opts.Cache.offers(r.DiffID) {
			out.layer, out.found = below.Elsewhere(r), i < own
			return out
		}
	}
	for i, r := range recs {
		if s.opts.Lookup && r.Below == chain {
			out.layer, out.found = below.Remembered(r), i < own
			return out
		}
	}
	return nil
}

// recorded gives the records of a key for the content that the operation would read, those of the store and more of
// a Cache, which may be nil. The content is asked for only when there are records at all.
func (e *Engine) recorded(ctx context.Context, key string, op Operation, c *Cache) (recs, more []records.Record, content string, err error) {
	recs, err = e.records.Get(ctx, key)
	if err != nil {
		if ctx.Err() != nil {
			return nil, nil, "", ctx.Err()
		}
		e.warn(err)
		recs = nil
	}
	more = c.records(key)
	if len(recs)+len(more) > 0 && op.Content != nil {
		if content, err = op.Content(ctx); err != nil {
			return nil, nil, "", err
		}
	}
	other := func(r records.Record) bool { return r.Content != content }
	return slices.DeleteFunc(recs, other), slices.DeleteFunc(more, other), content, nil
}

// findKept looks for a step that another stage of the build has done.
func (s *Stage) findKept(ctx context.Context, name string, op Operation) (*outcome, error) {
	kept := s.engine.kept(s, name)
	if len(kept) == 0 {
		return nil, nil
	}
	content := ""
	if op.Content != nil {
		var err error
		if content, err = op.Content(ctx); err != nil {
			return nil, err
		}
	}
	for _, r := range kept {
		if r.content == content {
			return &outcome{layer: r.layer, content: content, cached: true, found: true, from: explain.Build}, nil
		}
	}
	return nil, nil
}

// make does a step that was not found.
func (s *Stage) make(ctx context.Context, rest []byte, op Operation) (*outcome, error) {
	if s.opts.Lookup {
		return nil, cmp.Or(s.missed(ctx, s.Top(), rest, op), errdefs.ErrUncached)
	}
	below, err := s.Claimed(ctx, op.Reach)
	if err != nil {
		return nil, err
	}
	if op.Skip != nil {
		if skip, err := op.Skip(below); err != nil || skip {
			return &outcome{layer: below}, err
		}
	}
	if op.Change.Apart && !s.opts.NoCache {
		if out, err := s.repeat(ctx, below, rest, op); err != nil || out != nil {
			return out, err
		}
	}
	if err := s.missed(ctx, below, rest, op); err != nil {
		return nil, err
	}
	out, change := &outcome{}, op.Change
	if op.Prepare != nil {
		if err := op.Prepare(ctx, &change); err != nil {
			return nil, err
		}
	}
	if s.opts.Times != nil {
		change.Times = append(slices.Clone(change.Times), s.opts.Times.Change())
	}
	out.layer, err = s.engine.spaces.Make(ctx, below, change, func(ws workspace.Workspace) (err error) {
		out.content, err = op.Do(ctx, ws)
		return err
	})
	if errors.Is(err, ErrFound) {
		return s.findContent(ctx, below, rest, out.content)
	}
	if err != nil {
		return nil, err
	}
	for _, text := range out.layer.Notices() {
		if op.Note != nil {
			op.Note(text)
		}
	}
	return out, nil
}

// repeat makes a layer of one that the same step gave on other layers. It gives nil when there is
// none.
func (s *Stage) repeat(ctx context.Context, below *storage.Layer, rest []byte, op Operation) (*outcome, error) {
	recs, _, content, err := s.engine.recorded(ctx, sum("", rest), op, nil)
	if err != nil {
		return nil, err
	}
	made, ok := s.engine.store.LayerOfDiff(s.opts.young(recs))
	if !ok {
		return nil, nil
	}
	l, err := s.engine.spaces.Repeat(ctx, below, made)
	if errors.Is(err, storage.ErrRemoved) && s.engine.store.Intact(below) == nil {
		return nil, nil // it was removed meanwhile
	}
	return &outcome{layer: l, content: content, cached: true}, err
}

// findContent finds the layer that a step has given for a content.
func (s *Stage) findContent(ctx context.Context, below *storage.Layer, rest []byte, content string) (*outcome, error) {
	if l, ok := s.engine.known(ctx, below, rest, content); ok {
		return &outcome{layer: l, content: content, cached: true, found: true}, nil
	}
	return nil, ErrFound // it went while it was asked for
}

// Known finds the layer that an operation on the empty root has given for a content.
func (e *Engine) Known(ctx context.Context, k Key, content string) (*storage.Layer, bool) {
	return e.known(ctx, nil, encodeKey(k, nil), content)
}

func (e *Engine) known(ctx context.Context, below *storage.Layer, rest []byte, content string) (*storage.Layer, bool) {
	chain, _ := below.Chain()
	op := Operation{Content: func(context.Context) (string, error) { return content, nil }}
	recs, _, _, err := e.recorded(ctx, sum(chain, rest), op, nil)
	if err != nil {
		return nil, false
	}
	return e.store.LayerOf(recs, below)
}

// recordLater records what a step has given once that is registered, and calls release then. Steps are done faster
// than they are registered, so what waits here holds nothing of what the operation reads.
func (s *Stage) recordLater(below *storage.Layer, rest []byte, op Operation, out outcome, release func()) {
	e, m, key, apart, times := s.engine, s.mark(op), op.Key, op.Change.Apart, s.opts.Times
	e.bg.Go(func() {
		defer e.keepMark(m, below, rest, key, times, out)
		defer release()
		e.record(below, rest, apart, out)
	})
}

// record records what a step has given, once it is registered. A step that is made apart, and so depends on no
// layers below, is recorded without them too.
func (e *Engine) record(below *storage.Layer, rest []byte, apart bool, out outcome) {
	if out.layer.Wait(context.Background()) != nil {
		return // the next call on the stage tells
	}
	for _, r := range recordsOf(below, rest, apart, out) {
		if err := e.records.Put(context.Background(), r); err != nil {
			e.warn(err)
		}
	}
	if out.layer.Gone() {
		if err := e.store.RememberGone(); err != nil {
			e.warn(err)
		}
	}
}

// recordsOf are the records of what a step has given, whose layer is registered.
func recordsOf(below *storage.Layer, rest []byte, apart bool, out outcome) []records.Record {
	chain, _ := below.Chain()
	all := []records.Record{{Key: sum(chain, rest), Content: out.content, Below: chain}}
	if apart && below != nil {
		all = append(all, records.Record{Key: sum("", rest), Content: out.content})
	}
	for i := range all {
		r := &all[i]
		if l := out.layer; l != below {
			r.DiffID, r.Size, r.Created = l.DiffID(), l.Size(), l.Created()
		}
		r.Chain = records.ChainID(r.Below, r.DiffID)
	}
	return all
}
