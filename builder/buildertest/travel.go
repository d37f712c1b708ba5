package buildertest

import (
	"context"
	"fmt"

	godigest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/protocol"
	"github.com/oakum-build/oakum/builder/internal/protocol/outgoing"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/storage/remotecache"
)

// Caches elsewhere are reached as little as registries are: what was exported to one is found there by its name, and
// has what the Builder's own cache has anyway.

// importCache finds those that were exported.
func (s *server) importCache(_ context.Context, call *wire.Call, q outgoing.ImportCache) (wire.None, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.travelling[q.Cache] {
		return wire.None{}, fmt.Errorf("%w: cache %q", errdefs.ErrInvalid, q.Cache)
	}
	s.travelling[q.Cache] = true
	for _, at := range q.From {
		if !s.exported[exportedTo(at)] {
			call.Event(protocol.Event{Warning: fmt.Sprintf("the cache %s is not used: there is none", at)})
		}
	}
	return wire.None{}, nil
}

// exportedTo is what a place is called here. All places of the program's own are one.
func exportedTo(at remotecache.At) remotecache.At {
	if at.Asked != "" {
		at.Asked = "asked"
	}
	at.Place = nil
	return at
}

func (s *server) exportCache(_ context.Context, _ *wire.Call, q outgoing.ExportCache) (imgspec.Descriptor, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.travelling[q.Cache] {
		return imgspec.Descriptor{}, fmt.Errorf("%w: no cache %q", errdefs.ErrInvalid, q.Cache)
	}
	s.exported[exportedTo(q.To)] = true
	raw := []byte(q.To.String())
	return imgspec.Descriptor{MediaType: imgspec.MediaTypeImageManifest, ArtifactType: remotecache.ArtifactType, Digest: godigest.FromBytes(raw), Size: int64(len(raw))}, nil
}

func (s *server) closeCache(_ context.Context, _ *wire.Call, q outgoing.CloseCache) (wire.None, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.travelling, q.Cache)
	return wire.None{}, nil
}

// knowsCache fails for a cache that is not open; "" is none.
func (s *server) knowsCache(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id != "" && !s.travelling[id] {
		return fmt.Errorf("%w: no cache %q", errdefs.ErrInvalid, id)
	}
	return nil
}
