package buildertest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	godigest "github.com/opencontainers/go-digest"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/input"
	"github.com/oakum-build/oakum/builder/internal/protocol/outgoing"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/builder/mount"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/remotecache"
)

// cacheKey names what is kept of a cache: its id, the digest of its first content, and the part that is seen.
type cacheKey struct{ id, first, path string }

// compare orders what is kept.
func (k cacheKey) compare(other cacheKey) int {
	return cmp.Or(strings.Compare(k.id, other.id), strings.Compare(k.first, other.first), strings.Compare(k.path, other.path))
}

// cacheOf names the cache of a mount.
func (m *mounts) cacheOf(i int) cacheKey {
	one := m.list[i]
	key := cacheKey{id: one.Cache.ID, path: clean(one.Cache.Path)}
	if one.Bind != nil {
		key.first = digest(m.binds[i], one.Bind.Stream != nil && one.Bind.Stream.Foreign)
	}
	return key
}

// keptIn is what is kept of a mount's cache, nil when there is none yet, or it is none.
func (s *server) keptIn(m input.Mount, key cacheKey) tree {
	if m.Cache == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept[key]
}

func (s *server) keep(key cacheKey, files tree) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept[key] = files
}

// movedCache is a part of a cache as it is written, in a form that only a Builder of New reads.
type movedCache struct {
	ID, First, Path string
	Files           map[string]movedFile
}

type movedFile struct {
	Mode     fs.FileMode
	UID, GID int
	Time     time.Time
	Data     []byte
	Link     string
}

func (m movedCache) key() cacheKey { return cacheKey{m.ID, m.First, m.Path} }

// moved says what has been written or read.
func (m movedCache) moved(kept bool) (mount.Moved, error) {
	raw, err := json.Marshal(m)
	return mount.Moved{ID: m.ID, First: m.First, Blob: godigest.FromBytes(raw), Size: int64(len(raw)), Kept: kept}, err
}

// exportMounts writes caches to the call's file, or under the name of a place.
func (s *server) exportMounts(_ context.Context, call *wire.Call, q outgoing.ExportMounts) (moved []mount.Moved, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []movedCache
	for _, key := range sortedKeys(s.kept) {
		one := movedCache{key.id, key.first, key.path, map[string]movedFile{}}
		for name, f := range s.kept[key] {
			one.Files[name] = movedFile{f.mode, f.uid, f.gid, f.time, f.data, f.link}
		}
		all = append(all, one)
	}
	if all, err = chosen(all, q.IDs); err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: this store has no caches of RUN --mount=type=cache", errdefs.ErrNotFound)
	}
	for _, one := range all {
		m, err := one.moved(false)
		if err != nil {
			return nil, err
		}
		moved = append(moved, m)
	}
	raw, err := json.Marshal(all)
	if err != nil {
		return nil, err
	}
	if q.To == (remotecache.At{}) {
		_, err = call.Files[0].Write(raw)
		return moved, err
	}
	s.moved[exportedTo(q.To)] = raw
	return moved, nil
}

// importMounts reads what exportMounts has written.
func (s *server) importMounts(_ context.Context, call *wire.Call, q outgoing.ImportMounts) (moved []mount.Moved, err error) {
	var raw []byte
	if q.From == (remotecache.At{}) {
		if raw, err = io.ReadAll(call.Files[0]); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if q.From != (remotecache.At{}) {
		if raw = s.moved[exportedTo(q.From)]; raw == nil {
			return nil, fmt.Errorf("%w: %s", storage.ErrNotFound, q.From)
		}
	}
	var all []movedCache
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, fmt.Errorf("%w: it has no caches that buildertest has written: %w", errdefs.ErrInvalid, err)
	}
	if all, err = chosen(all, q.IDs); err != nil {
		return nil, err
	}
	for _, one := range all {
		kept := s.kept[one.key()] != nil && !q.Replace
		if !kept {
			files := tree{}
			for name, f := range one.Files {
				files[name] = &file{f.Mode, f.UID, f.GID, f.Time, f.Data, f.Link}
			}
			s.kept[one.key()] = files
		}
		m, err := one.moved(kept)
		if err != nil {
			return moved, err
		}
		moved = append(moved, m)
	}
	return moved, nil
}

// chosen are the caches of some ids, each of which must be there, or all.
func chosen(all []movedCache, ids []string) ([]movedCache, error) {
	for _, id := range ids {
		if !slices.ContainsFunc(all, func(m movedCache) bool { return m.ID == id }) {
			return nil, fmt.Errorf("%w: there is no cache %q", errdefs.ErrNotFound, id)
		}
	}
	return slices.DeleteFunc(all, func(m movedCache) bool { return len(ids) > 0 && !slices.Contains(ids, m.ID) }), nil
}

func sortedKeys(kept map[cacheKey]tree) []cacheKey {
	var keys []cacheKey
	for key := range kept {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, cacheKey.compare)
	return keys
}
