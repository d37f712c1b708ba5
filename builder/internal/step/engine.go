//go:build linux

package step

import (
	"context"
	"sync"

	digest "github.com/opencontainers/go-digest"

	"github.com/oakum-build/oakum/builder/internal/workspace"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/records"
)

// Engine does the steps of all stages of a worker. It is safe for many goroutines.
type Engine struct {
	store   *storage.Store
	spaces  workspace.Driver
	records records.Records
	warn    func(error) // is told what went wrong with the cache, which stops nothing

	mu     sync.Mutex
	busy   map[string]chan struct{} // what is claimed, see claim
	builds map[string]*build
	bg     sync.WaitGroup
	memory memory
}

// New makes an engine over a store, what makes its layers, and the records of its steps.
func New(store *storage.Store, spaces workspace.Driver, recs records.Records, warn func(error)) *Engine {
	return &Engine{store: store, spaces: spaces, records: recs, warn: warn, busy: map[string]chan struct{}{}, builds: map[string]*build{}}
}

// Wait waits for what goes on in the background. Nothing may be begun meanwhile.
func (e *Engine) Wait() { e.bg.Wait() }

// Remember remembers, in the background, a content that was read of a layer, under the key that
// it has on that. Nothing is remembered of a layer that fails, which the next call on its stage
// tells. What a Cache is given, it gives to others; it may be nil.
func (e *Engine) Remember(l *storage.Layer, k Key, content string, c *Cache) {
	c.learn(l, k, content)
	e.bg.Go(func() {
		if l.Wait(context.Background()) != nil {
			return
		}
		chain, _ := l.Chain()
		var layers []digest.Digest
		if chain != "" {
			layers = append(layers, chain)
		}
		if err := e.store.RememberContent(Sum(chain, k), content, layers...); err != nil {
			e.warn(err)
		}
	})
}

// Content is what was remembered, or "". Nothing is, while the layer is being registered. What a Cache knows counts
// where the store knows nothing, and is remembered from then on; it may be nil.
func (e *Engine) Content(l *storage.Layer, k Key, c *Cache) string {
	chain, known := l.Chain()
	if !known {
		return ""
	}
	key := Sum(chain, k)
	content, here := e.store.Content(key)
	switch {
	case here:
		c.learn(l, k, content)
	case c != nil:
		if content = c.read(key, chain); content != "" {
			e.Remember(l, k, content, c)
		}
	}
	return content
}
