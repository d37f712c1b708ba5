//go:build linux

package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker"
	blobcache "go.podman.io/image/v5/pkg/blobinfocache/memory"
	libcompression "go.podman.io/image/v5/pkg/compression"
	"go.podman.io/image/v5/types"
	cs "go.podman.io/storage"
	"go.podman.io/storage/pkg/stringid"

	"github.com/oakum-build/oakum/storage/internal/transfer"
	"github.com/oakum-build/oakum/storage/records"
	"github.com/oakum-build/oakum/storage/registry"
	"github.com/oakum-build/oakum/storage/remotecache"
)

// FetchLayers brings a layer that is Elsewhere into the store, with those below it that are not there, and gives it
// as it is there. from is who offers a layer, by the digest of its tar, nil for nobody. Each layer is unpacked as
// those of images are, and compared with its digest: one that has another does not stay. Such, and a cache that
// fails, are a *remotecache.FetchError. use moves along, so that what has come stays.
func (s *Store) FetchLayers(ctx context.Context, l *Layer, from func(digest.Digest) *remotecache.Supply, use *Use) (*Layer, error) {
	var lacking []*Layer // the lowest first
	below := l
	for ; below.Gone(); below = below.Parent() {
		lacking = append(lacking, below)
	}
	slices.Reverse(lacking)
	for len(lacking) > 0 {
		if is, ok := s.here(lacking[0], below); ok {
			use.Move(is)
			if err := use.Claim(); err != nil {
				return nil, err
			}
			below, lacking = is, lacking[1:]
			continue
		}
		supply := from(lacking[0].diffID)
		if supply == nil {
			return nil, fmt.Errorf("%w: no cache offers the layer %s", ErrNotFound, lacking[0].diffID)
		}
		n := 1
		for n < len(lacking) && from(lacking[n].diffID) == supply {
			n++
		}
		f := &fetching{store: s, supply: supply, lacking: lacking[:n], below: below, use: use, came: make([]*spool, n)}
		if err := f.fetch(ctx); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, &remotecache.FetchError{Supply: supply, Err: err}
		}
		below, lacking = f.below, lacking[n:]
	}
	return below, nil
}

// here finds the layer of the store that one is that was remembered.
func (s *Store) here(l, below *Layer) (*Layer, bool) {
	chain, _ := below.Chain()
	return s.LayerOf([]records.Record{{Below: chain, Chain: l.chain, DiffID: l.diffID, Size: l.size, Created: l.created}}, below)
}

// fetching is the coming of layers that lie on each other from one cache: what they are copied to. They come
// several at once, and are unpacked in their order, each on the one before.
type fetching struct {
	store   *Store
	supply  *remotecache.Supply
	lacking []*Layer
	use     *Use

	mu        sync.Mutex
	below     *Layer   // that has come
	done      int      // how many of lacking have
	came      []*spool // those that are still to be unpacked
	unpacking bool
}

func (f *fetching) fetch(ctx context.Context) error {
	defer f.drop()
	return f.store.withCache(ctx, f.supply, func(ctx context.Context, src types.ImageSource) error {
		mixed, err := f.image(src)
		if err != nil {
			return err
		}
		a := f.supply.Access.Moving(f.supply.At.String(), false)
		o := transfer.Options{Allow: allowed, Progress: moved(a)}
		if src.Reference().Transport().Name() == docker.Transport.Name() {
			o.Again = a.Again(registry.Pulling, src.Reference().DockerReference())
		}
		_, err = transfer.Copy(ctx, f, mixed, o)
		return err
	})
}

// allowed is the policy of what was allowed before.
func allowed(context.Context, types.UnparsedImage) error { return nil }

// image is what is still lacking, as an image of these layers alone.
func (f *fetching) image(src types.ImageSource) (*remotecache.Mixed, error) {
	m := imgspec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspec.MediaTypeImageManifest}
	config := imgspec.Image{RootFS: imgspec.RootFS{Type: "layers"}}
	for _, l := range f.lacking[f.done:] {
		m.Layers = append(m.Layers, f.supply.Offers[l.diffID])
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.diffID)
	}
	raw, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	m.Config = imgspec.Descriptor{MediaType: imgspec.MediaTypeImageConfig, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	manifest, err := json.Marshal(m)
	return &remotecache.Mixed{
		Name: remotecache.Named(f.supply.At.String()), Manifest: manifest, Config: raw,
		Blob: func(ctx context.Context, info types.BlobInfo) (io.ReadCloser, error) {
			body, _, err := src.GetBlob(ctx, info, blobcache.New())
			return body, err
		},
	}, err
}

// PutBlob keeps a layer, compressed as it comes, until those below it have come.
func (f *fetching) PutBlob(ctx context.Context, stream io.Reader, info types.BlobInfo, _ types.BlobInfoCache, isConfig bool) (types.BlobInfo, error) {
	if isConfig {
		_, err := io.Copy(io.Discard, stream)
		return info, err
	}
	scratch, err := f.store.Scratch()
	if err != nil {
		return info, registry.Local(err)
	}
	file, err := newSpool(scratch)
	if err != nil {
		return info, registry.Local(err)
	}
	size, err := io.Copy(file, untilDone{ctx, stream})
	file.end(nil, err)
	if err != nil {
		file.close()
		return info, err
	}
	info.Size = size
	return info, f.unpack(ctx, file, info.Digest)
}

// unpack has a layer that has come unpacked, and those after it that have waited for it: by the one that is at it
// already, or else here.
func (f *fetching) unpack(ctx context.Context, file *spool, blob digest.Digest) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.keep(file, blob) {
		file.close() // it was tried again after it had come
	}
	if f.unpacking {
		return nil
	}
	f.unpacking = true
	defer func() { f.unpacking = false }()
	for f.done < len(f.lacking) && f.came[f.done] != nil {
		want, next, below := f.lacking[f.done], f.came[f.done], f.below
		f.came[f.done] = nil
		f.mu.Unlock()
		l, err := f.put(ctx, want, next, below)
		next.close()
		f.mu.Lock()
		if err != nil {
			return err
		}
		f.below = l
		f.done++
	}
	return nil
}

// keep keeps a layer until it is unpacked. Two layers may be the same blob.
func (f *fetching) keep(file *spool, blob digest.Digest) bool {
	for i := f.done; i < len(f.lacking); i++ {
		if f.supply.Offers[f.lacking[i].diffID].Digest == blob && f.came[i] == nil {
			f.came[i] = file
			return true
		}
	}
	return false
}

// put unpacks a layer on the one below.
func (f *fetching) put(ctx context.Context, want *Layer, file *spool, below *Layer) (*Layer, error) {
	plain, _, err := libcompression.AutoDecompress(untilDone{ctx, file.reader()})
	if err != nil {
		return nil, registry.Local(fmt.Errorf("the layer %s: %w", want.diffID, err))
	}
	defer plain.Close()
	s, id := f.store, stringid.GenerateRandomID()
	done, err := s.noteMoving(id) // until it is in use
	if err != nil {
		return nil, registry.Local(err)
	}
	defer done()
	got, _, err := s.cs.PutLayer(id, below.ID(), nil, "", false, &cs.LayerOptions{Flags: map[string]any{layerFlag: true}}, &atMost{plain, want.size, want.size})
	if err != nil {
		if lost := s.Intact(below); lost != nil {
			return nil, registry.Local(lost)
		}
		return nil, registry.Local(fmt.Errorf("unpacking the layer %s: %w", want.diffID, err))
	}
	if got.UncompressedDigest != want.diffID {
		err := fmt.Errorf("what is offered as the layer %s is %s", want.diffID, got.UncompressedDigest)
		return nil, registry.Local(errors.Join(err, s.deleteLayer(id)))
	}
	s.indexMade(got)
	l, err := s.Layer(id)
	if err != nil {
		return nil, registry.Local(err)
	}
	l = l.datedBy(records.Record{Created: want.created}, below)
	f.use.Move(l)
	if err := f.use.Claim(); err != nil {
		return nil, registry.Local(err)
	}
	offer := f.supply.Offers[want.diffID]
	transfer.Came(s.blobs, want.diffID, types.BlobInfo{Digest: offer.Digest, Size: offer.Size, MediaType: offer.MediaType, Annotations: offer.Annotations}, cacheRepository(f.supply.At))
	return l, nil
}

// drop gives up what was not unpacked.
func (f *fetching) drop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, file := range f.came {
		if file != nil {
			file.close()
			f.came[i] = nil
		}
	}
}

// atMost is a stream that ends with an error when it has more bytes than it may.
type atMost struct {
	io.Reader
	left, most int64
}

func (a *atMost) Read(p []byte) (int, error) {
	n, err := a.Reader.Read(p)
	if a.left -= int64(n); a.left < 0 {
		return 0, fmt.Errorf("it has more than the %d bytes that its record tells of", a.most)
	}
	return n, err
}

// What follows is the rest of types.ImageDestination.

// Reference is the name of the cache.
func (f *fetching) Reference() types.ImageReference { return remotecache.Named(f.supply.At.String()) }

// Close does nothing.
func (f *fetching) Close() error { return nil }

// SupportedManifestMIMETypes are all.
func (f *fetching) SupportedManifestMIMETypes() []string { return nil }

// SupportsSignatures says that there are none.
func (f *fetching) SupportsSignatures(context.Context) error { return ErrNotFound }

// DesiredLayerCompression leaves layers as they are.
func (f *fetching) DesiredLayerCompression() types.LayerCompression { return types.PreserveOriginal }

// AcceptsForeignLayerURLs says no.
func (f *fetching) AcceptsForeignLayerURLs() bool { return false }

// MustMatchRuntimeOS says no.
func (f *fetching) MustMatchRuntimeOS() bool { return false }

// IgnoresEmbeddedDockerReference says yes.
func (f *fetching) IgnoresEmbeddedDockerReference() bool { return true }

// HasThreadSafePutBlob says yes.
func (f *fetching) HasThreadSafePutBlob() bool { return true }

// TryReusingBlob finds nothing, for what is here is not asked for.
func (f *fetching) TryReusingBlob(context.Context, types.BlobInfo, types.BlobInfoCache, bool) (bool, types.BlobInfo, error) {
	return false, types.BlobInfo{}, nil
}

// PutManifest keeps nothing.
func (f *fetching) PutManifest(context.Context, []byte, *digest.Digest) error { return nil }

// PutSignatures keeps nothing.
func (f *fetching) PutSignatures(context.Context, [][]byte, *digest.Digest) error { return nil }

// Commit fails where a layer is missing. Each is there as soon as it is unpacked.
func (f *fetching) Commit(context.Context, types.UnparsedImage) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.done < len(f.lacking) {
		return registry.Local(fmt.Errorf("the layer %s has not come", f.lacking[f.done].diffID))
	}
	return nil
}
