//go:build linux

package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	cs "go.podman.io/storage"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/usage"
)

// layerFlag marks the layers that build steps made, among the store's.
const layerFlag = "oakum"

// lockShared keeps RemoveStore away for as long as the store is open.
func (s *Store) lockShared() error {
	f, err := s.private.OpenFile("lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	s.lock = f
	return flock(f, unix.LOCK_SH)
}

// Prune removes of the layer cache, of the caches of commands and of what is remembered what the options say.
// A layer of a base image whose image is gone, and that was only kept by the layer of a step on top of it, goes with that.
//
// What a running build uses stays, and nothing keeps a build from going on or beginning meanwhile: at
// most it has to do a step again that it would have found a moment ago. One Prune at a time is done
// in a store; others wait for it until ctx ends.
func (s *Store) Prune(ctx context.Context, o usage.Options) (out Pruned, err error) {
	if err := o.Check(); err != nil {
		return out, err
	}
	s.makeRoom()
	done, due, err := s.pruneTurn(ctx, o.Every)
	if err != nil || !due {
		return Pruned{Skipped: err == nil}, err
	}
	defer done()
	s.releaseUnused()
	if !o.DryRun {
		s.releaseStray()
		err = errors.Join(s.sweepCaches(&out), s.sweepImages())
	}
	items, listErr := s.cacheItems(o.All)
	if err = errors.Join(err, listErr); err != nil {
		return out, err
	}
	z, err := s.sizes(ctx)
	if err != nil {
		return out, err
	}
	defer z.close()
	p := pruneRun{store: s, sizes: z, options: o, out: &out}
	if err := p.all(items); err != nil {
		return out, err
	}
	whole := !o.Limited() && len(o.Filter) == 0 && o.KeepDuration == 0
	if o.DryRun || len(out.Items) == 0 && !whole {
		return out, nil
	}
	return out, s.forgetSteps()
}

// pruneFile is locked by who prunes, and was written when that ended last.
const pruneFile = "pruning"

// pruneTurn waits until nobody else prunes. With every, it does not wait, and says that nothing is to be done when somebody
// does, or has within that time.
func (s *Store) pruneTurn(ctx context.Context, every time.Duration) (done func(), due bool, err error) {
	recent := func() bool {
		st, err := s.private.Stat(pruneFile)
		return every > 0 && err == nil && time.Since(st.ModTime()) < every
	}
	if recent() {
		return nil, false, nil
	}
	f, err := s.private.OpenFile(pruneFile, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, false, err
	}
	if err := (&waiting{not: every > 0}).flock(ctx, f, unix.LOCK_EX); err != nil {
		if errors.Is(err, errBusy) {
			err = nil
		}
		return nil, false, errors.Join(err, f.Close())
	}
	return func() {
		now := time.Now()
		_ = errors.Join(s.private.Chtimes(pruneFile, now, now), closeLock(f))
	}, true, nil
}

// pruneRun is one Prune.
type pruneRun struct {
	store   *Store
	sizes   *sizes
	options usage.Options
	out     *Pruned
}

// all removes of items what is to be removed.
func (p *pruneRun) all(items []usage.Item) error {
	if p.options.Limited() {
		for i := range items {
			if items[i].Reclaimable || items[i].InUse && !items[i].Shared {
				if err := p.sizes.of(&items[i]); err != nil {
					return err
				}
			}
		}
	}
	var free int64
	if p.options.MinFreeSpace > 0 {
		var err error
		if free, err = p.store.free(); err != nil {
			return err
		}
	}
	plan, err := usage.NewPlan(items, p.options, free, time.Now())
	if err != nil {
		return err
	}
	for {
		item, more := plan.Next()
		if !more {
			return nil
		}
		if err := p.sizes.ctx.Err(); err != nil {
			return err
		}
		if !p.options.Limited() {
			if err := p.sizes.of(&item); err != nil {
				return err
			}
		}
		removed := p.options.DryRun
		if !removed {
			if removed, err = p.store.pruneItem(item); err != nil {
				return fmt.Errorf("removing the %s %s: %w", item.Kind, item.ID, err)
			}
		}
		if removed {
			plan.Removed(item)
			p.out.add(item)
		}
	}
}

func (p *Pruned) add(i usage.Item) {
	p.Items = append(p.Items, i)
	p.Size += i.Size
	switch {
	case i.Kind == usage.Layer && !i.Base:
		p.Layers++
	case i.Kind == usage.CacheMount:
		p.Caches++
	}
}

// pruneItem removes what may be removed, unless somebody uses it by now.
func (s *Store) pruneItem(i usage.Item) (removed bool, err error) {
	switch i.Kind {
	case usage.Layer:
		return s.removeUnused(i.ID)
	case usage.CacheMount:
		return s.removeCache(i.ID)
	}
	names, err := s.names(i.ID)
	for _, name := range names {
		err = errors.Join(err, s.private.RemoveAll(path.Join(i.ID, name)))
	}
	return true, err
}

// removeUnused removes a layer on which no other is, unless it is in use.
func (s *Store) removeUnused(id string) (removed bool, err error) {
	err = s.alone(func(notes []note) error {
		// Who uses a layer that is not registered yet has those below it in its note, down to the first that is.
		for _, n := range notes {
			if slices.Contains(n.Layers, id) {
				return nil
			}
		}
		err := s.deleteLayer(id)
		for _, kept := range []error{cs.ErrLayerHasChildren, cs.ErrLayerUnknown, cs.ErrNotALayer, cs.ErrLayerUsedByImage, cs.ErrLayerUsedByContainer} {
			if errors.Is(err, kept) {
				return nil
			}
		}
		removed = err == nil
		return err
	})
	return removed, err
}

// cacheItems are what a prune looks at, without their sizes. With all, what is known of steps may be removed too.
func (s *Store) cacheItems(all bool) ([]usage.Item, error) {
	items, err := s.layerItems()
	if err != nil {
		return nil, err
	}
	caches, err := s.names(cachesDir)
	if err != nil {
		return nil, err
	}
	for _, name := range caches {
		if !isGone(name) {
			items = append(items, s.cacheItem(name))
		}
	}
	for _, dir := range recordDirs {
		if dir == fingerprintsDir {
			continue // they go with the records
		}
		item := s.recordsItem(dir)
		item.Reclaimable = !item.LastUsed.IsZero() && (item.Reclaimable || all)
		items = append(items, item)
	}
	return items, nil
}

// layerItems are the layers, without their sizes.
func (s *Store) layerItems() ([]usage.Item, error) {
	all, err := s.cs.Layers()
	if err != nil {
		return nil, err
	}
	used, err := s.usedLayers(all)
	if err != nil {
		return nil, err
	}
	busy, err := s.busyLayers(all)
	if err != nil {
		return nil, err
	}
	on, kept := map[string]bool{}, map[string]bool{} // that something is on, that something on them stays
	var items []usage.Item
	for _, l := range childrenFirst(all) {
		i := usage.Item{
			Kind: usage.Layer, ID: l.ID, Parent: l.Parent, Created: l.Created, LastUsed: s.layerUsed(l.ID, l.Created),
			Shared: used[l.ID], InUse: busy[l.ID] || isHold(l), Base: l.Flags[layerFlag] == nil,
		}
		i.Reclaimable = !i.Shared && !i.InUse && !kept[l.ID] && (!i.Base || on[l.ID])
		on[l.Parent] = true
		kept[l.Parent] = kept[l.Parent] || !i.Reclaimable
		items = append(items, i)
	}
	return items, nil
}

// layersHome is the directory that has one for each layer.
func (s *Store) layersHome() string {
	if s.Driver() == DriverTree {
		return filepath.Join(s.layersRoot(), DriverTree, "dir")
	}
	return filepath.Join(s.layersRoot(), s.Driver())
}

// layersRoot is the root of the store in which layers are.
func (s *Store) layersRoot() string {
	if images := s.catalog.ImageStore(); images != "" {
		return images
	}
	return s.catalog.GraphRoot()
}

// layerUsed is when a layer was last used: its own directory is marked, which has nothing of its files.
func (s *Store) layerUsed(id string, created time.Time) time.Time {
	st, err := os.Lstat(filepath.Join(s.layersHome(), id))
	if err != nil {
		return created // it is of another store that is only read
	}
	return st.ModTime()
}

// busyLayers are those that a running build uses, and those below them.
func (s *Store) busyLayers(all []cs.Layer) (map[string]bool, error) {
	var ids []string
	err := s.alone(func(notes []note) error {
		for _, n := range notes {
			ids = append(ids, n.Layers...)
		}
		return nil
	})
	return withBelow(all, ids), err
}

// usedLayers are those below an image or a container.
func (s *Store) usedLayers(all []cs.Layer) (map[string]bool, error) {
	var ids []string
	images, err := s.cs.Images()
	if err != nil {
		return nil, err
	}
	for _, i := range images {
		ids = append(append(ids, i.TopLayer), i.MappedTopLayers...)
	}
	containers, err := s.cs.Containers()
	if err != nil {
		return nil, err
	}
	for _, c := range containers {
		ids = append(ids, c.LayerID)
	}
	return withBelow(all, ids), nil
}

// withBelow are layers and all that are below them.
func withBelow(all []cs.Layer, ids []string) map[string]bool {
	parents := make(map[string]string, len(all))
	for _, l := range all {
		parents[l.ID] = l.Parent
	}
	marked := map[string]bool{}
	for _, id := range ids {
		for ; id != "" && !marked[id]; id = parents[id] {
			marked[id] = true
		}
	}
	return marked
}

// childrenFirst orders layers so that each comes before the one below it.
func childrenFirst(all []cs.Layer) []cs.Layer {
	parents := make(map[string]string, len(all))
	for _, l := range all {
		parents[l.ID] = l.Parent
	}
	depths := make(map[string]int, len(all))
	for _, l := range all {
		n := 0
		for id := l.ID; id != "" && n <= len(all); id = parents[id] {
			n++
		}
		depths[l.ID] = n
	}
	out := slices.Clone(all)
	slices.SortStableFunc(out, func(a, b cs.Layer) int { return depths[b.ID] - depths[a.ID] })
	return out
}

// recordDirs are the directories of what is remembered: of steps, of what was read of layers, of blobs, of what steps were made of, of
// local files, of URLs, and of layers that were looked through.
var recordDirs = []string{recordsDir, readsDir, blobsDir, fingerprintsDir, "files", "urls", "plain"}

// recordsItem is one of recordDirs, without its size.
func (s *Store) recordsItem(dir string) usage.Item {
	i := usage.Item{Kind: usage.Records, ID: dir, Description: map[string]string{
		recordsDir: "results of steps", readsDir: "digests of what steps read of layers", blobsDir: "blobs that layers were pulled or pushed as", fingerprintsDir: "what steps were made of",
		"files": "digests of local files", "urls": "what URLs gave", "plain": "layers that were looked through",
	}[dir]}
	names, _ := s.names(dir) // what cannot be read is of no use either
	for _, name := range names {
		if st, err := s.private.Lstat(path.Join(dir, name)); err == nil && st.ModTime().After(i.LastUsed) {
			i.LastUsed = st.ModTime()
		}
	}
	i.Reclaimable = len(names) > 0 && !slices.Contains([]string{recordsDir, readsDir, blobsDir, fingerprintsDir}, dir)
	return i
}

// free is how much the store's file system has left for this user.
func (s *Store) free() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(s.layersRoot(), &st); err != nil {
		return 0, wrap("statfs", s.layersRoot(), err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}

func (s *Store) names(dir string) ([]string, error) {
	d, err := s.private.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}
