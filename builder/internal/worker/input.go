//go:build linux

package worker

import (
	"context"

	"github.com/oakum-build/oakum/builder/internal/input"
	"github.com/oakum-build/oakum/builder/internal/protocol"
	"github.com/oakum-build/oakum/builder/internal/step"
	"github.com/oakum-build/oakum/builder/internal/userns"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/builder/internal/workspace"
	"github.com/oakum-build/oakum/storage"
)

// inputs is where a call's inputs are found, with what a stage has from caches elsewhere, which may be nil.
func (w *worker) inputs(call *wire.Call, fresh bool, c *step.Cache) input.Env {
	return input.Env{
		Store:  w.store,
		Layers: layers{w, call, c},
		Memory: w.mnt + "/trees",
		Mounts: w.mounted(), Outside: w.looking,
		Call: input.Call{Files: call.Files, Retry: w.retrying(call), Fresh: fresh, Warn: noting(call), WarnOnce: func(text string) { w.warnOnce(call, text) }},
	}
}

// inputsOf is where the inputs of a stage's steps are found.
func (w *worker) inputsOf(call *wire.Call, of step.Options) input.Env {
	env := w.inputs(call, of.NoCache, of.Cache)
	env.Call.Explain = of.Explain
	return env
}

// mounted are the worker's own file systems.
func (w *worker) mounted() []string {
	if w.kind == userns.Plain {
		return []string{"/proc"} // the other is in the store
	}
	return []string{w.mnt, "/proc"}
}

// warnOnce tells callers something that none has been told yet.
func (w *worker) warnOnce(call *wire.Call, text string) {
	w.mu.Lock()
	told := w.told[text]
	w.told[text] = true
	w.mu.Unlock()
	if !told {
		call.Event(protocol.Event{Warning: text})
	}
}

// tell gives notices to the caller.
func tell(call *wire.Call, texts []string) {
	for _, text := range texts {
		call.Event(protocol.Event{Warning: text})
	}
}

// layers gives a call's inputs the worker's layers.
type layers struct {
	w     *worker
	call  *wire.Call
	cache *step.Cache
}

func (l layers) Stage(id string) (input.Stage, error) {
	s, err := l.w.stage(id)
	if err != nil {
		return nil, err
	}
	return readStage{s, l.w.reach(l.call)}, nil
}

type readStage struct {
	*step.Stage
	reach step.Reach
}

func (r readStage) Claim(ctx context.Context) (*storage.Layer, error) { return r.Claimed(ctx, r.reach) }

func (l layers) Image(ctx context.Context, image input.Image) (*storage.Layer, error) {
	d, err := l.w.base(ctx, l.call, image, l.w.puller())
	if err != nil {
		return nil, err
	}
	return l.w.store.Layer(d.TopLayer)
}

func (l layers) View(layer *storage.Layer) (workspace.View, error) { return l.w.spaces.View(layer) }

// Fetch finds the layer of what is fetched, if its content is known already, or makes it.
func (l layers) Fetch(ctx context.Context, f input.Fetch) (*storage.Layer, error) {
	steps := l.w.steps
	s := steps.Open(nil, step.Options{NoCache: f.Fresh, Cache: l.cache})
	defer s.Close()
	have := func(content string) bool { _, ok := steps.Known(ctx, f.Key, content); return ok }
	_, err := s.Do(ctx, step.Operation{
		Key: f.Key, Fetches: true,
		Content: func(context.Context) (string, error) { return f.Content, nil },
		Do: func(ctx context.Context, ws workspace.Workspace) (string, error) {
			return f.Make(ctx, have, ws)
		},
	})
	if err != nil {
		return nil, err
	}
	return s.Present(ctx, l.w.reach(l.call))
}

// Remembered finds the layer of what was fetched, and was removed since, or is elsewhere.
func (l layers) Remembered(ctx context.Context, f input.Fetch) *storage.Layer {
	s := l.w.steps.Open(nil, step.Options{Lookup: true, Cache: l.cache})
	defer s.Close()
	_, found, err := s.Find(ctx, step.Operation{Key: f.Key, Fetches: true, Content: func(context.Context) (string, error) { return f.Content, nil }})
	if err != nil || !found || !s.Top().Gone() {
		return nil // it is fetched, which tells the error
	}
	return s.Top()
}

// Known is what was read of a layer before.
func (l layers) Known(layer *storage.Layer, what step.ReadKey) (digest string) {
	return l.w.steps.Content(layer, what, l.cache)
}

// Learn remembers what was read of a layer.
func (l layers) Learn(layer *storage.Layer, what step.ReadKey, digest string) {
	l.w.steps.Remember(layer, what, digest, l.cache)
}
