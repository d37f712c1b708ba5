//go:build linux

package worker

import (
	"context"

	"github.com/oakum-build/oakum/storage"
)

// build is what the open stages of one build have done that do not look into the cache: an
// equal step of another of them is not done again. Else the cache would have two results for
// it, and the next build would take one of them for both.
type build struct {
	stages int                // that are open
	done   map[string][]fresh // by key
}

// fresh is a step's result.
type fresh struct {
	content string
	layer   *storage.Layer
}

// join notes that a stage of a build is open; w.mu is held.
func (w *worker) join(s *stage) {
	if s.build == "" || !s.noCache {
		return
	}
	b := w.builds[s.build]
	if b == nil {
		b = &build{done: map[string][]fresh{}}
		w.builds[s.build] = b
	}
	b.stages++
}

// quit notes that it is closed; w.mu is held.
func (w *worker) quit(s *stage) {
	b := w.builds[s.build]
	if b == nil || !s.noCache {
		return
	}
	if b.stages--; b.stages == 0 {
		delete(w.builds, s.build)
	}
}

// keep remembers a result for the build.
func (w *worker) keep(s *stage, key, content string, l *storage.Layer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if b := w.builds[s.build]; b != nil && s.noCache {
		b.done[key] = append(b.done[key], fresh{content, l})
	}
}

// done gives the layer of a step that the build has done. The key is claimed.
func (w *worker) done(ctx context.Context, s *stage, key string, op operation) (*storage.Layer, bool, error) {
	w.mu.Lock()
	var results []fresh
	if b := w.builds[s.build]; b != nil {
		results = b.done[key]
	}
	w.mu.Unlock()
	if len(results) == 0 {
		return nil, false, nil
	}
	content := ""
	if op.content != nil {
		var err error
		if content, err = op.content(ctx); err != nil {
			return nil, false, err
		}
	}
	for _, r := range results {
		if r.content == content {
			return r.layer, true, nil
		}
	}
	return nil, false, nil
}
