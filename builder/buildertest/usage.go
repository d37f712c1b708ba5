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
	return out, nil
}

func (l *layer) item() usage.Item {
	return usage.Item{Kind: usage.Layer, ID: l.id, Size: l.size, Apparent: l.size, Created: l.created, LastUsed: l.created, Reclaimable: true}
}

// diskUsage tells the sizes of the layers that the cache has.
func (s *server) diskUsage(_ context.Context, _ *wire.Call, q upkeep.DiskUsage) (out usage.Report, err error) {
	takes, err := usage.Chosen(q.Filter)
	if err != nil {
		return out, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := map[*layer]bool{}
	for _, l := range s.cache {
		if l == nil || seen[l] {
			continue
		}
		seen[l] = true
		i := l.item()
		out.Size += i.Size
		out.Apparent += i.Apparent
		if takes(i) {
			out.Items = append(out.Items, i)
		}
	}
	slices.SortFunc(out.Items, func(a, b usage.Item) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}
