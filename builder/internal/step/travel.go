//go:build linux

package step

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/records"
	"github.com/oakum-build/oakum/storage/registry"
	"github.com/oakum-build/oakum/storage/remotecache"
)

// Reach is how one call reaches caches elsewhere, and tells its caller of them.
type Reach interface {
	// Access completes how registries are reached.
	Access(a registry.Access) registry.Access
	// Place is the caller's own place of a name.
	Place(name string) remotecache.Place
	// Warn tells that something went wrong which stops nothing.
	Warn(text string)
}

// Cache is what stages have from caches elsewhere beside the store's own, and what they are to give to others: what
// they found, made and read. Nothing of it is in the store before a stage uses it. It is safe for many goroutines, and
// the nil Cache has nothing and takes nothing.
type Cache struct {
	engine *Engine

	mu       sync.Mutex
	known    records.Memory
	reads    map[string]remotecache.Read
	supplies []*remotecache.Supply // those that have not failed
	given    given
}

// given is what is to be given to others.
type given struct {
	steps   []givenStep
	reads   []givenRead
	results []*storage.Layer // of images that were made
}

type givenStep struct {
	below          *storage.Layer
	rest           []byte
	apart, fetches bool // see Operation
	out            outcome
}

type givenRead struct {
	layer   *storage.Layer
	key     Key
	content string
}

// NewCache makes a Cache of what was read elsewhere. What comes first counts first.
func (e *Engine) NewCache(ctx context.Context, from ...*remotecache.Supply) (*Cache, error) {
	c := &Cache{engine: e, supplies: from, reads: map[string]remotecache.Read{}}
	for _, supply := range slices.Backward(from) { // of the records of a key the last is given first
		for _, r := range supply.Records {
			if err := c.known.Put(ctx, r); err != nil {
				return nil, err
			}
		}
		for _, r := range supply.Reads {
			c.reads[r.Key] = r
		}
	}
	return c, nil
}

// records are those of a key.
func (c *Cache) records(key string) []records.Record {
	if c == nil {
		return nil
	}
	recs, _ := c.known.Get(context.Background(), key) // it is in memory
	return recs
}

// read is what was read of a layer of a chain, "" for nothing that is known.
func (c *Cache) read(key string, chain digest.Digest) string {
	if r, ok := c.reads[key]; ok && slices.Contains(r.Layers, chain) {
		return r.Content
	}
	return ""
}

// offers says whether a layer can be had.
func (c *Cache) offers(diffID digest.Digest) bool { return c.supplier(diffID) != nil }

// supplier is where a layer can be had.
func (c *Cache) supplier(diffID digest.Digest) *remotecache.Supply {
	if c == nil || diffID == "" {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.supplies {
		if _, ok := s.Offers[diffID]; ok {
			return s
		}
	}
	return nil
}

// suppliers is supplier for a call, by which the caches are reached.
func (c *Cache) suppliers(reach Reach) func(digest.Digest) *remotecache.Supply {
	with := map[*remotecache.Supply]*remotecache.Supply{}
	return func(diffID digest.Digest) *remotecache.Supply {
		of := c.supplier(diffID)
		if of == nil {
			return nil
		}
		if with[of] == nil {
			reached := *of
			reached.Access = reach.Access(of.Access)
			if of.At.Asked != "" {
				reached.At.Place = reach.Place(of.At.Asked)
			}
			with[of] = &reached
		}
		return with[of]
	}
}

// drop asks a cache that has failed for no layer any more.
func (c *Cache) drop(failed *remotecache.Supply) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.supplies = slices.DeleteFunc(slices.Clone(c.supplies), func(s *remotecache.Supply) bool { return s.At.Same(failed.At) && s.Digest == failed.Digest })
}

// fetch brings a layer that is elsewhere into the store, with those below it. A cache that fails in that, or lies, is
// told of and left, and another one asked; where no cache is left that has the layers, the error matches
// errdefs.ErrUncached: the steps are to be done.
func (c *Cache) fetch(ctx context.Context, reach Reach, l *storage.Layer, use *storage.Use) (*storage.Layer, error) {
	var names []string
	for of := l; of.Gone(); of = of.Parent() {
		chain, _ := of.Chain()
		names = append(names, "fetch "+string(chain))
	}
	release, err := c.engine.claim(ctx, names...)
	if err != nil {
		return nil, err
	}
	defer release()
	for {
		got, err := c.engine.store.FetchLayers(ctx, l, c.suppliers(reach), use)
		var failed *remotecache.FetchError
		switch {
		case err == nil:
			return got, nil
		case errors.As(err, &failed): // which an end of ctx is not
			reach.Warn(fmt.Sprintf("%v; it is not asked for layers any more, and what it cannot give is done here", err))
			c.drop(failed.Supply)
		case errors.Is(err, storage.ErrNotFound):
			return nil, fmt.Errorf("%w: %v", errdefs.ErrUncached, err) // not found, which would count for more
		default:
			return nil, err
		}
	}
}

// collect notes what a step has given.
func (c *Cache) collect(below *storage.Layer, rest []byte, op Operation, out outcome) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.given.steps = append(c.given.steps, givenStep{below, rest, op.Change.Apart, op.Fetches, out})
}

// learn notes what was read of a layer.
func (c *Cache) learn(l *storage.Layer, k Key, content string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.given.reads = append(c.given.reads, givenRead{l, k, content})
}

// Result notes the uppermost layer of an image that was made, and those that it was made of.
func (c *Cache) Result(tops ...*storage.Layer) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.given.results = append(c.given.results, tops...)
}

// Index is what there is to give: the records of all steps, and what was read, once their layers are registered.
// Those of layers that failed are left out. The layers are those that steps have made, but for bases, of the results
// alone, or with all of every stage, as where nothing is known of a result.
func (c *Cache) Index(ctx context.Context, all bool) (x remotecache.Index, layers []*storage.Layer, err error) {
	c.mu.Lock()
	g := given{slices.Clone(c.given.steps), slices.Clone(c.given.reads), slices.Clone(c.given.results)}
	c.mu.Unlock()
	all = all || len(g.results) == 0
	wanted := map[digest.Digest]bool{}
	for _, top := range g.results {
		for l := top; l != nil; l = l.Parent() {
			wanted[l.DiffID()] = true
		}
	}
	for _, s := range g.steps {
		if s.out.layer.Wait(ctx) != nil {
			if ctx.Err() != nil {
				return x, nil, ctx.Err()
			}
			continue
		}
		x.Records = append(x.Records, recordsOf(s.below, s.rest, s.apart, s.out)...)
		if l := s.out.layer; l != s.below && !s.fetches && (all || wanted[l.DiffID()]) {
			layers = append(layers, l)
		}
	}
	for _, r := range g.reads {
		if chain, known := r.layer.Chain(); known && chain != "" {
			x.Reads = append(x.Reads, remotecache.Read{Key: Sum(chain, r.key), Content: r.content, Layers: []digest.Digest{chain}})
		}
	}
	return x, layers, nil
}

// Write gives what there is to give to a cache elsewhere, with the layers that Index says.
func (c *Cache) Write(ctx context.Context, reach Reach, to remotecache.At, all bool, o storage.PushOptions, a registry.Access) (d imgspec.Descriptor, err error) {
	x, layers, err := c.Index(ctx, all)
	if err != nil {
		return d, err
	}
	if to.Asked != "" {
		to.Place = reach.Place(to.Asked)
	}
	return c.engine.store.WriteCache(ctx, x, layers, c.suppliers(reach), to, o, reach.Access(a))
}
