//go:build linux

package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/manifest"
	blobcache "go.podman.io/image/v5/pkg/blobinfocache/memory"
	"go.podman.io/image/v5/types"

	"github.com/oakum-build/oakum/storage/internal/transfer"
	"github.com/oakum-build/oakum/storage/records"
	"github.com/oakum-build/oakum/storage/registry"
	"github.com/oakum-build/oakum/storage/remotecache"
)

// WriteCache writes a cache to where to says, in place of the one that is there: an index, of which Layers is set
// here, and the blobs of layers. A layer that is not in the store is taken from where from says that it can be had;
// one that nobody offers is left out. Only OCI's format has such artifacts. It gives the manifest as it was sent.
func (s *Store) WriteCache(ctx context.Context, x remotecache.Index, layers []*Layer, from func(digest.Digest) *remotecache.Supply, to remotecache.At, o PushOptions, a registry.Access) (imgspec.Descriptor, error) {
	o.Format = transfer.FormatOCI
	if err := o.check(); err != nil {
		return imgspec.Descriptor{}, err
	}
	w := &cacheWriter{store: s, from: from, to: to, reached: map[*remotecache.Supply]*reached{}, here: map[digest.Digest]*Layer{}, there: map[digest.Digest]*remotecache.Supply{}}
	defer w.close()
	if to.Ref == "" { // of registries, blobs are remembered where they were compressed
		w.before, _ = s.ReadCache(ctx, to, a)
	}
	src, err := w.source(ctx, x, layers, o)
	if err != nil {
		return imgspec.Descriptor{}, err
	}
	raw, err := w.write(ctx, src, o, a.Moving(to.String(), true))
	if err != nil {
		return imgspec.Descriptor{}, err
	}
	d, err := manifest.Digest(raw)
	return imgspec.Descriptor{MediaType: imgspec.MediaTypeImageManifest, ArtifactType: remotecache.ArtifactType, Digest: d, Size: int64(len(raw))}, err
}

// cacheWriter is the writing of one cache.
type cacheWriter struct {
	store  *Store
	from   func(digest.Digest) *remotecache.Supply
	to     remotecache.At
	before *remotecache.Supply // what is at to; nil where nothing is
	uses   []*Use

	here  map[digest.Digest]*Layer              // by the digests that the manifest has for them
	there map[digest.Digest]*remotecache.Supply // the same, of those that are elsewhere

	mu      sync.Mutex
	reached map[*remotecache.Supply]*reached
}

// source is the cache as it is sent: of layers of the store the tars, which are compressed on the way, and of others
// the blobs.
func (w *cacheWriter) source(ctx context.Context, x remotecache.Index, layers []*Layer, o PushOptions) (*remotecache.Mixed, error) {
	var all []imgspec.Descriptor
	x.Layers = nil
	seen := map[digest.Digest]bool{}
	for _, l := range layers {
		if seen[l.diffID] || !records.Usable(l.diffID) {
			continue
		}
		if d, ok := w.layer(ctx, l, o); ok {
			seen[l.diffID] = true
			all, x.Layers = append(all, d), append(x.Layers, l.diffID)
		}
	}
	raw, config, err := remotecache.Manifest(x, all)
	return &remotecache.Mixed{Name: remotecache.Named(w.to.String()), Manifest: raw, Config: config, Blob: w.blob, Repositories: w.repositories}, err
}

// layer describes a layer, and keeps one of the store from being removed.
func (w *cacheWriter) layer(ctx context.Context, l *Layer, o PushOptions) (imgspec.Descriptor, bool) {
	if w.before != nil && !o.Compression.Force {
		if d, ok := w.before.Offers[l.diffID]; ok && stillHas(ctx, w.before, d.Digest) { // it need not even be compressed to know that it is there
			w.there[d.Digest] = w.before
			w.keep(l)
			return d, true
		}
	}
	if is := w.keep(l); is != nil {
		w.here[l.diffID] = is
		return imgspec.Descriptor{MediaType: imgspec.MediaTypeImageLayer, Digest: l.diffID, Size: l.size}, true
	}
	supply := w.from(l.diffID)
	if supply == nil {
		return imgspec.Descriptor{}, false
	}
	d := supply.Offers[l.diffID]
	if !stillHas(ctx, supply, d.Digest) {
		return imgspec.Descriptor{}, false
	}
	w.there[d.Digest] = supply
	return d, true
}

// stillHas says whether a cache still has a blob that it offers. A service may have removed what was not used for long, where a
// registry keeps what a manifest names.
func stillHas(ctx context.Context, from *remotecache.Supply, d digest.Digest) bool {
	if from.At.Ref != "" {
		return true
	}
	place, done, err := openPlace(from.At, false)
	if err != nil {
		return false
	}
	there, err := place.Has(ctx, d.String())
	return errors.Join(err, done()) == nil && there
}

// keep finds a layer in the store, and uses it until the cache is written.
func (w *cacheWriter) keep(l *Layer) *Layer {
	if l.Gone() {
		is, ok := w.store.LayerOfDiff([]records.Record{{DiffID: l.diffID}})
		if !ok {
			return nil
		}
		l = is
	}
	u := w.store.Use(l)
	if u.Claim() != nil {
		u.Close()
		return nil
	}
	w.uses = append(w.uses, u)
	return l
}

// write sends it.
func (w *cacheWriter) write(ctx context.Context, src *remotecache.Mixed, o PushOptions, a registry.Access) (raw []byte, err error) {
	s := w.store
	opts := transfer.Options{Format: o.Format, Compression: o.Compression, Allow: allowed, Blobs: s.blobs, Progress: moved(a)}
	sys, err := s.systemContext(a)
	if err != nil {
		return nil, err
	}
	if w.to.Ref != "" {
		named, err := cacheName(w.to.Ref)
		if err != nil {
			return nil, err
		}
		to, err := docker.NewReference(named)
		if err != nil {
			return nil, err
		}
		return s.send(ctx, sys, to, mixedReference{src.Name, src}, a, opts)
	}
	place, done, err := openPlace(w.to, true)
	if err != nil {
		return nil, err
	}
	raw, err = transfer.Copy(ctx, remotecache.Destination(place, w.to, sys.BigFilesTemporaryDir), src, opts)
	if err != nil {
		err = fmt.Errorf("writing the cache %s: %w", w.to, err)
	}
	return raw, errors.Join(err, done())
}

// mixedReference leads to an image that is put together.
type mixedReference struct {
	remotecache.Named
	src *remotecache.Mixed
}

// NewImageSource gives the image.
func (m mixedReference) NewImageSource(context.Context, *types.SystemContext) (types.ImageSource, error) {
	return m.src, nil
}

// repositories are those that have a blob that is elsewhere.
func (w *cacheWriter) repositories(d digest.Digest) []string {
	if supply := w.there[d]; supply != nil {
		if repo := cacheRepository(supply.At); repo != "" {
			return []string{repo}
		}
	}
	return nil
}

// blob opens a layer.
func (w *cacheWriter) blob(ctx context.Context, info types.BlobInfo) (io.ReadCloser, error) {
	if l := w.here[info.Digest]; l != nil {
		return w.store.OpenTar(l)
	}
	supply := w.there[info.Digest]
	if supply == nil {
		return nil, fmt.Errorf("%w: the layer %s of the cache", ErrNotFound, info.Digest)
	}
	src, err := w.reach(ctx, supply)
	if err != nil {
		return nil, err
	}
	body, _, err := src.GetBlob(ctx, info, blobcache.New())
	return body, err
}

// reached is a cache that blobs are copied from.
type reached struct {
	opening sync.Mutex
	src     types.ImageSource
	done    func()
}

// reach opens a cache, once.
func (w *cacheWriter) reach(ctx context.Context, supply *remotecache.Supply) (types.ImageSource, error) {
	w.mu.Lock()
	r := w.reached[supply]
	if r == nil {
		r = &reached{done: func() {}}
		w.reached[supply] = r
	}
	w.mu.Unlock()
	r.opening.Lock()
	defer r.opening.Unlock()
	if r.src != nil {
		return r.src, nil
	}
	src, done, err := w.store.reachCache(ctx, supply)
	if err == nil {
		r.src, r.done = src, done
	}
	return src, err
}

// close ends what was opened.
func (w *cacheWriter) close() {
	for _, r := range w.reached {
		r.done()
	}
	for _, u := range w.uses {
		u.Close()
	}
}
