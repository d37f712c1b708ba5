package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"

	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/builder/cache"
	"github.com/oakum-build/oakum/builder/event"
	"github.com/oakum-build/oakum/builder/internal/protocol/outgoing"
	"github.com/oakum-build/oakum/builder/internal/protocol/question"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/remotecache"
)

// ImportCache reads caches elsewhere: what they know of steps, and none of their layers. Of the records of a step those
// of the store come first, and then those of the caches in their order. What a stage uses of them is the store's own
// from then on. A cache that cannot be read, or is none, is an event of kind event.Warning and no error. Without
// any the Cache only notes what its stages find and make, for ExportCache.
func (b *Builder) ImportCache(ctx context.Context, from ...cache.At) (*cache.Cache, error) {
	var all []remotecache.At
	for _, at := range from {
		if err := at.Check(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
	id := b.newSerial()
	var named []string
	for _, at := range from {
		is, name := b.place(at)
		all, named = append(all, is), append(named, name)
	}
	c := cache.New(id, func(ctx context.Context, to cache.Target) (imgspec.Descriptor, error) {
		return b.exportCache(ctx, id, to)
	}, func() error {
		b.forget(named...)
		_, err := call(context.Background(), b, outgoing.CloseCache{Cache: id})
		if errors.Is(err, ErrClosed) {
			return nil
		}
		return err
	})
	if _, err := call(ctx, b, outgoing.ImportCache{Cache: id, From: all, Access: b.opts.Registry.access()}); err != nil {
		b.forget(named...)
		return nil, err
	}
	return c, nil
}

// ExportCache writes what the stages of a Cache have found and made so far to a cache elsewhere, in place of the one that is
// there, and gives its manifest. Blobs that are there are not written again, nor those that the registry has in another
// repository. What an image is made of counts for mode cache.Min once it is committed. With to.IgnoreErrors what
// fails is an event of kind event.Warning, and the zero Descriptor.
func (b *Builder) ExportCache(ctx context.Context, c *cache.Cache, to cache.Target) (imgspec.Descriptor, error) {
	return c.Export(ctx, to)
}

func (b *Builder) exportCache(ctx context.Context, id string, to cache.Target) (imgspec.Descriptor, error) {
	if err := to.Check(); err != nil {
		return imgspec.Descriptor{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	at, name := b.place(to.At)
	defer b.forget(name)
	d, err := call(ctx, b, outgoing.ExportCache{Cache: id, To: at, All: to.Mode == cache.Max, Options: storage.PushOptions{Compression: to.Compression}, Access: b.opts.Registry.access()})
	if err == nil || !to.IgnoreErrors || ctx.Err() != nil || errors.Is(err, ErrClosed) {
		return d, err
	}
	t := b.teller(nil)
	t.tell(ctx, event.Event{Kind: event.Warning, Text: fmt.Sprintf("the cache was not written: %v", err)})
	return imgspec.Descriptor{}, t.or(nil)
}

// newSerial gives an id that nothing else of the Builder has.
func (b *Builder) newSerial() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.serial++
	return strconv.Itoa(b.serial)
}

// place names a place to the worker, which asks for it by that name until forget.
func (b *Builder) place(at cache.At) (named remotecache.At, name string) {
	named = remotecache.At{Ref: at.Ref, Layout: at.Layout, Tag: at.Tag}
	if at.Place == nil {
		return named, ""
	}
	if is, ok := at.Place.(fmt.Stringer); ok {
		named.Called = is.String()
	}
	name = b.newSerial()
	named.Asked = name
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.places == nil {
		b.places = map[string]cache.Place{}
	}
	b.places[name] = at.Place
	return named, name
}

func (b *Builder) forget(names ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, name := range names {
		delete(b.places, name)
	}
}

// placeOf is a place that is to be asked for what has a name. The program is promised what the names look like, and may make
// paths of them: no other name gets to it, whatever a cache that was read has.
func (b *Builder) placeOf(place, name string) (cache.Place, error) {
	if err := remotecache.CheckName(name); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.places[place]
	if p == nil {
		return nil, fmt.Errorf("%w: no place %q", ErrInvalid, place)
	}
	return p, nil
}

// answerPlaces does for the worker what the program's own places do.
func (b *Builder) answerPlaces(s *wire.Server) {
	wire.Handle(s, func(ctx context.Context, _ *wire.Call, q question.PlaceHas) (has bool, err error) {
		p, err := b.placeOf(q.Place, q.Name)
		if err != nil {
			return false, err
		}
		err = guarded("Place.Has", func() error { has, err = p.Has(ctx, q.Name); return err })
		return has, err
	})
	wire.Handle(s, func(ctx context.Context, call *wire.Call, q question.PlaceGet) (none wire.None, err error) {
		p, err := b.placeOf(q.Place, q.Name)
		if err != nil || len(call.Files) != 1 {
			return none, errors.Join(err, fs.ErrInvalid)
		}
		return none, guarded("Place.Get", func() error {
			body, err := p.Get(ctx, q.Name)
			if err != nil {
				return err
			}
			defer body.Close()
			_, err = io.Copy(call.Files[0], body)
			return err
		})
	})
	wire.Handle(s, func(ctx context.Context, call *wire.Call, q question.PlacePut) (none wire.None, err error) {
		p, err := b.placeOf(q.Place, q.Name)
		if err != nil || len(call.Files) != 1 {
			return none, errors.Join(err, fs.ErrInvalid)
		}
		defer context.AfterFunc(ctx, func() { call.Files[0].Close() })() // who reads need not look at ctx
		content := &whole{from: call.Files[0], left: q.Size}
		if q.Name != cache.ManifestName {
			content.want, content.sum = digest.Digest(q.Name), digest.SHA256.Digester()
		}
		return none, guarded("Place.Put", func() error { return p.Put(ctx, q.Name, q.Size, content) })
	})
}

// whole is content on its way to a place. It comes through a pipe, whose end does not tell whether it is all: so it ends
// with an error unless it has its size, and its digest if there is one.
type whole struct {
	from io.Reader
	left int64
	want digest.Digest
	sum  digest.Digester
}

func (w *whole) Read(p []byte) (int, error) {
	n, err := w.from.Read(p)
	w.left -= int64(n)
	if w.sum != nil {
		_, _ = w.sum.Hash().Write(p[:n])
	}
	if errors.Is(err, io.EOF) && (w.left != 0 || w.sum != nil && w.sum.Digest() != w.want) {
		return n, fmt.Errorf("what was to be kept has ended early: %w", io.ErrUnexpectedEOF)
	}
	return n, err
}
