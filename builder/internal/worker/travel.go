//go:build linux

package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/protocol"
	"github.com/oakum-build/oakum/builder/internal/protocol/outgoing"
	"github.com/oakum-build/oakum/builder/internal/protocol/question"
	"github.com/oakum-build/oakum/builder/internal/step"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/builder/limits"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/platform"
	"github.com/oakum-build/oakum/storage/registry"
	"github.com/oakum-build/oakum/storage/remotecache"
)

// travelling is what stages have from caches elsewhere and give to them.
type travelling struct {
	*step.Cache

	mu    sync.Mutex
	bases map[string]storage.Detail // images of which the configuration was read
}

// cache is the one that stages are opened with; "" is none.
func (w *worker) cache(id string) (*step.Cache, error) {
	if id == "" {
		return nil, nil
	}
	c, err := w.travelling(id)
	if err != nil {
		return nil, err
	}
	return c.Cache, nil
}

func (w *worker) travelling(id string) (*travelling, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.cachesElsewhere[id]
	if c == nil {
		return nil, fmt.Errorf("%w: no cache %q", errdefs.ErrInvalid, id)
	}
	return c, nil
}

// importCache reads caches side by side. One that cannot be read, or is none, is told of, and is no reason not to
// build.
func (w *worker) importCache(ctx context.Context, call *wire.Call, p outgoing.ImportCache) (none wire.None, err error) {
	reach := w.reach(call)
	found := make([]*remotecache.Supply, len(p.From))
	var reading sync.WaitGroup
	for i, at := range p.From {
		reading.Go(func() {
			if at.Asked != "" {
				at.Place = reach.Place(at.Asked)
			}
			got, err := w.store.ReadCache(ctx, at, reach.Access(p.Access))
			if err != nil {
				reach.Warn(fmt.Sprintf("the cache %s is not used: %v", at, err))
				return
			}
			if got.Dropped > 0 {
				reach.Warn(fmt.Sprintf("the cache %s: %d of its records are none, and are passed over", at, got.Dropped))
			}
			for _, err := range got.Skipped {
				reach.Warn(fmt.Sprintf("the cache %s: %v, and is passed over", at, err))
			}
			got.At.Place, got.Access = nil, p.Access // those of a call end with it
			found[i] = got
		})
	}
	reading.Wait()
	if err := ctx.Err(); err != nil {
		return none, err
	}
	var supplies []*remotecache.Supply
	for _, s := range found {
		if s != nil {
			supplies = append(supplies, s)
		}
	}
	c, err := w.steps.NewCache(ctx, supplies...)
	if err != nil {
		return none, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cachesElsewhere[p.Cache] != nil || p.Cache == "" {
		return none, fmt.Errorf("%w: cache %q", errdefs.ErrInvalid, p.Cache)
	}
	w.cachesElsewhere[p.Cache] = &travelling{Cache: c, bases: map[string]storage.Detail{}}
	return none, nil
}

func (w *worker) exportCache(ctx context.Context, call *wire.Call, p outgoing.ExportCache) (imgspec.Descriptor, error) {
	c, err := w.travelling(p.Cache)
	if err != nil {
		return imgspec.Descriptor{}, err
	}
	defer w.memory.moving()()
	return c.Write(ctx, w.reach(call), p.To, p.All, p.Options, p.Access)
}

func (w *worker) closeCache(_ context.Context, _ *wire.Call, p outgoing.CloseCache) (wire.None, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.cachesElsewhere, p.Cache)
	return wire.None{}, nil
}

// inlined is what an image's configuration is to say of a cache; nil is nothing. What is too large for one is told of,
// and left out.
func (w *worker) inlined(ctx context.Context, call *wire.Call, id string) ([]byte, error) {
	c, err := w.cache(id)
	if c == nil || err != nil {
		return nil, err
	}
	x, _, err := c.Index(ctx, false)
	if err != nil {
		return nil, err
	}
	raw, err := x.Encode()
	if err == nil && len(raw) > limits.MaxJSON/2 {
		err = fmt.Errorf("it has %d bytes, of which a configuration may have %d", len(raw), limits.MaxJSON/2)
	}
	if err != nil {
		call.Event(protocol.Event{Warning: fmt.Sprintf("the cache is not put into the image: %v", err)})
		return nil, nil
	}
	return raw, nil
}

// peeking reads the configuration of images in place of pulling them, of each once for a cache, if there is one.
func (w *worker) peeking(id string) pullFunc {
	peek := func(ctx context.Context, call *wire.Call, ref string, p platform.Platform, reach registry.Access) (storage.Detail, error) {
		return w.store.Peek(ctx, ref, p, w.access(call, reach))
	}
	if id == "" {
		return peek
	}
	return func(ctx context.Context, call *wire.Call, ref string, p platform.Platform, reach registry.Access) (storage.Detail, error) {
		c, err := w.travelling(id)
		if err != nil {
			return storage.Detail{}, err
		}
		key := ref + " " + p.String()
		c.mu.Lock()
		d, known := c.bases[key]
		c.mu.Unlock()
		if known {
			return d, nil
		}
		if d, err = peek(ctx, call, ref, p, reach); err != nil {
			return d, err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.bases[key] = d
		return d, nil
	}
}

// reach is how a call reaches caches elsewhere.
func (w *worker) reach(call *wire.Call) step.Reach { return reaching{w, call} }

type reaching struct {
	w    *worker
	call *wire.Call
}

func (r reaching) Access(a registry.Access) registry.Access { return r.w.access(r.call, a) }
func (r reaching) Warn(text string)                         { r.call.Event(protocol.Event{Warning: text}) }
func (r reaching) Place(name string) remotecache.Place      { return askedPlace{r.call, name} }

// askedPlace is a place of the caller's, whom it asks. Content goes through pipes.
type askedPlace struct {
	call *wire.Call
	name string
}

func (p askedPlace) Has(ctx context.Context, name string) (bool, error) {
	return wire.Ask(ctx, p.call, question.PlaceHas{Place: p.name, Name: name})
}

func (p askedPlace) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	has, err := p.Has(ctx, name)
	if err == nil && !has {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	inner, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		_, err := wire.Ask(inner, p.call, question.PlaceGet{Place: p.name, Name: name}, w)
		ended <- errors.Join(err, w.Close())
	}()
	return &asked{r, cancel, ended, nil}, nil
}

// asked is what a place gives, which ends with the error that it ends with.
type asked struct {
	*os.File
	cancel context.CancelFunc
	ended  chan error
	err    error
}

func (a *asked) Read(b []byte) (int, error) {
	n, err := a.File.Read(b)
	if errors.Is(err, io.EOF) {
		if a.err == nil {
			if a.err = <-a.ended; a.err == nil {
				a.err = io.EOF
			}
		}
		err = a.err
	}
	return n, err
}

func (a *asked) Close() error {
	err := a.File.Close()
	a.cancel() // who writes on has nobody who reads
	return err
}

func (p askedPlace) Put(ctx context.Context, name string, size int64, content io.Reader) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	written := make(chan error, 1)
	go func() {
		_, err := io.Copy(w, content) // the end of the pipe tells nothing, but the size and the digest do
		written <- errors.Join(err, w.Close())
	}()
	_, err = wire.Ask(ctx, p.call, question.PlacePut{Place: p.name, Name: name, Size: size}, r)
	r.Close() // who writes on has nobody who reads
	failed := <-written
	if err == nil && errors.Is(failed, unix.EPIPE) {
		failed = nil // it had it, and has not read all
	}
	return errors.Join(err, failed)
}
