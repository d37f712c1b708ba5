package buildertest

import (
	"context"
	"slices"
	"strings"

	"github.com/oakum-build/oakum/builder/internal/protocol/upkeep"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/usage"
)

// prune removes what its filters take of the cache. Nothing in it takes room on disk, so no limits matter.
func (s *server) prune(_ context.Context, _ *wire.Call, q upkeep.Prune) (out storage.Pruned, err error) {
	takes, err := usage.Chosen(q.Filter)
	if err != nil {
		return out, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	used := map[*layer]bool{}
	for _, img := range s.images {
		for l := img.top; l != nil; l = l.parent {
			used[l] = true
		}
	}
	for key, l := range s.cache {
		if used[l] && !q.All || !takes(l.item()) {
			continue
		}
		if !q.DryRun {
			delete(s.cache, key)
		}
		if !used[l] {
			out.Layers++
			out.Size += l.size
			out.Items = append(out.Items, l.item())
		}
	}
	for _, key := range sortedKeys(s.kept) {
		i := s.cacheItem(key)
		if !takes(i) {
			continue
		}
		if !q.DryRun {
			delete(s.kept, key)
		}
		out.Caches++
		out.Size += i.Size
		out.Items = append(out.Items, i)
	}
	return out, nil
}

// cacheItem is what is kept of a cache of commands. The caller holds s.mu.
func (s *server) cacheItem(key cacheKey) usage.Item {
	i := usage.Item{Kind: usage.CacheMount, ID: idOf(key.id, key.first, key.path), Description: key.id, Reclaimable: true}
	for _, f := range s.kept[key] {
		i.Size += int64(len(f.data))
		if f.time.After(i.LastUsed) {
			i.LastUsed = f.time
		}
	}
	i.Apparent, i.Created = i.Size, i.LastUsed
	return i
}

func (l *layer) item() usage.Item {
	return usage.Item{Kind: usage.Layer, ID: l.id, Size: l.size, Apparent: l.size, Created: l.created, LastUsed: l.created, Reclaimable: true}
}

// diskUsage tells the sizes of the layers and the caches of commands that are kept.
func (s *server) diskUsage(_ context.Context, _ *wire.Call, q upkeep.DiskUsage) (out usage.Report, err error) {
	takes, err := usage.Chosen(q.Filter)
	if err != nil {
		return out, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := map[*layer]bool{}
	var items []usage.Item
	for _, l := range s.cache {
		if l != nil && !seen[l] {
			items = append(items, l.item())
		}
		seen[l] = true
	}
	for key := range s.kept {
		items = append(items, s.cacheItem(key))
	}
	for _, i := range items {
		out.Size += i.Size
		out.Apparent += i.Apparent
		if takes(i) {
			out.Items = append(out.Items, i)
		}
	}
	slices.SortFunc(out.Items, func(a, b usage.Item) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}
