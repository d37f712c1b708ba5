//go:build linux

package storage

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	cs "go.podman.io/storage"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/usage"
)

// sizes measures items.
type sizes struct {
	*measuring
	home, lists, private *os.File // directories of layers, of what the library knows of them, and our own
}

func (s *Store) sizes(ctx context.Context) (*sizes, error) {
	z := &sizes{}
	var errs [3]error
	z.home, errs[0] = os.Open(s.layersHome())
	z.lists, errs[1] = os.Open(filepath.Join(s.layersRoot(), s.Driver()+"-layers"))
	z.private, errs[2] = s.private.Open(".")
	err := errors.Join(errs[:]...)
	if err == nil {
		z.measuring, err = measure(ctx, z.home)
	}
	if err != nil {
		z.close()
		return nil, err
	}
	return z, nil
}

func (z *sizes) close() {
	closeAll(slices.DeleteFunc([]*os.File{z.home, z.lists, z.private}, func(f *os.File) bool { return f == nil }))
}

// of measures an item that a prune may remove.
func (z *sizes) of(i *usage.Item) error {
	var sp space
	var err error
	switch i.Kind {
	case usage.Layer:
		sp, err = z.tree(z.home, i.ID)
		split, more := z.tree(z.lists, i.ID+splitSuffix)
		sp.add(split)
		err = errors.Join(err, more)
	case usage.CacheMount:
		sp, err = z.tree(z.private, path.Join(cachesDir, i.ID))
	default:
		sp, err = z.within(z.private, i.ID) // the directory stays
	}
	i.Size, i.Apparent = sp.disk, sp.apparent
	return err
}

// splitSuffix ends the names of the records of layers' tars.
const splitSuffix = ".tar-split.gz"

// cacheItem is a cache of commands, without its size.
func (s *Store) cacheItem(name string) usage.Item {
	i := usage.Item{Kind: usage.CacheMount, ID: name, Reclaimable: true}
	dir := path.Join(cachesDir, name)
	var named cacheNamed
	if text, err := s.private.ReadFile(path.Join(dir, cacheRecord)); err == nil && json.Unmarshal(text, &named) == nil {
		i.Description = named.ID
	}
	if st, err := s.private.Lstat(path.Join(dir, cacheRecord)); err == nil {
		i.Created = st.ModTime()
	}
	if st, err := s.private.Lstat(path.Join(dir, cacheLock)); err == nil {
		i.LastUsed = st.ModTime()
	}
	return i
}

// cacheBusy says whether a command uses a cache.
func (s *Store) cacheBusy(name string) bool {
	f, err := s.private.OpenFile(path.Join(cachesDir, name, cacheLock), os.O_RDWR, 0)
	if err != nil {
		return false
	}
	busy := false
	err = s.unasked(func() error {
		busy = errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
		return closeLock(f)
	})
	return err == nil && busy
}

// survey finds out to what each file of a store belongs.
type survey struct {
	*measuring
	store *Store
	items map[usage.Kind]map[string]*usage.Item
}

// DiskUsage tells what the store has on disk. Each file in it is counted once, so the sum of all items is what du -sx tells of its
// directory when nothing else is going on. filters choose the items that are listed. It fails with
// usage.ErrFilter.
func (s *Store) DiskUsage(ctx context.Context, filters []usage.Filter) (usage.Report, error) {
	out := usage.Report{Root: s.cs.GraphRoot()}
	takes, err := usage.Chosen(filters)
	if err != nil {
		return out, err
	}
	v := &survey{store: s, items: map[usage.Kind]map[string]*usage.Item{}}
	layers, err := s.layerItems()
	if err != nil {
		return out, err
	}
	for i := range layers {
		v.put(&layers[i])
	}
	images, err := s.cs.Images()
	if err != nil {
		return out, err
	}
	for i := range images {
		v.putImage(&images[i])
	}
	roots := []string{s.cs.GraphRoot()}
	if s.layersRoot() != roots[0] {
		roots = append(roots, s.layersRoot())
	}
	for _, root := range roots {
		if err := v.root(ctx, root); err != nil {
			return out, err
		}
	}
	v.shares(images)
	if out.Free, err = s.free(); err != nil {
		return out, err
	}
	for _, of := range v.items {
		for _, i := range of {
			out.Size += i.Size
			out.Apparent += i.Apparent
			if takes(*i) {
				out.Items = append(out.Items, *i)
			}
		}
	}
	slices.SortFunc(out.Items, func(a, b usage.Item) int {
		return cmp.Or(b.LastUsed.Compare(a.LastUsed), strings.Compare(string(a.Kind), string(b.Kind)), strings.Compare(a.ID, b.ID))
	})
	return out, nil
}

func (v *survey) put(i *usage.Item) *usage.Item {
	if v.items[i.Kind] == nil {
		v.items[i.Kind] = map[string]*usage.Item{}
	}
	v.items[i.Kind][i.ID] = i
	return i
}

func (v *survey) putImage(img *cs.Image) {
	i := usage.Item{Kind: usage.Image, ID: img.ID, Parent: img.TopLayer, Description: strings.Join(img.Names, " "), Created: img.Created}
	if top := v.items[usage.Layer][img.TopLayer]; top != nil {
		i.LastUsed, i.InUse = top.LastUsed, top.InUse
	}
	v.put(&i)
}

// item is the one of a kind that has an id, which is made where there is none.
func (v *survey) item(kind usage.Kind, id string) *usage.Item {
	if i := v.items[kind][id]; i != nil {
		return i
	}
	return v.put(&usage.Item{Kind: kind, ID: id})
}

func add(i *usage.Item, sp space) {
	i.Size += sp.disk
	i.Apparent += sp.apparent
}

// root goes through a root of the store.
func (v *survey) root(ctx context.Context, root string) error {
	dir, err := os.Open(root)
	if err != nil {
		return err
	}
	defer dir.Close()
	if v.measuring, err = measure(ctx, dir); err != nil {
		return err
	}
	driver := v.store.Driver()
	return v.dir(dir, ".", ".", func(dir *os.File, name string) error {
		switch name {
		case driver:
			return v.dir(dir, name, name, v.driver)
		case driver + "-layers":
			return v.dir(dir, name, name, v.lists(usage.Layer, name))
		case driver + "-images":
			return v.dir(dir, name, name, v.lists(usage.Image, name))
		case privateDir(driver):
			return v.dir(dir, name, name, v.private)
		}
		return v.whole(dir, name, v.item(usage.Other, name))
	})
}

// dir counts a directory itself as other, and calls do for each name in it.
func (v *survey) dir(above *os.File, name, id string, do func(dir *os.File, name string) error) error {
	sp, is, err := v.file(above, name)
	if err != nil {
		return err
	}
	add(v.item(usage.Other, id), sp)
	if is.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	fd, err := unix.Openat(int(above.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return wrapUnreadable(name, err)
	}
	dir := os.NewFile(uintptr(fd), name)
	defer dir.Close()
	return v.each(dir, func(name string) error { return do(dir, name) })
}

// whole counts all that a name leads to for one item.
func (v *survey) whole(dir *os.File, name string, i *usage.Item) error {
	sp, err := v.tree(dir, name)
	add(i, sp)
	return err
}

// driver goes through the directory of the storage driver.
func (v *survey) driver(dir *os.File, name string) error {
	driver := v.store.Driver()
	id := path.Join(driver, name)
	layer := v.items[usage.Layer][name]
	switch {
	case driver == DriverTree && name == "dir":
		return v.dir(dir, name, id, func(dir *os.File, name string) error {
			if layer := v.items[usage.Layer][name]; layer != nil {
				return v.whole(dir, name, layer)
			}
			return v.whole(dir, name, v.item(usage.Staging, path.Join(id, name)))
		})
	case driver != DriverTree && layer != nil:
		return v.whole(dir, name, layer)
	case name == "tempdirs":
		return v.dir(dir, name, id, v.staging)
	case name == "staging" || strings.HasPrefix(name, "staged-"):
		return v.whole(dir, name, v.item(usage.Staging, id))
	}
	return v.whole(dir, name, v.item(usage.Other, id))
}

// staging goes through the temporary directories.
func (v *survey) staging(dir *os.File, name string) error {
	id := path.Join(v.store.Driver(), "tempdirs", name)
	if name != "oakum" {
		return v.whole(dir, name, v.item(usage.Staging, id)) // layers that are being removed
	}
	return v.dir(dir, name, id, func(dir *os.File, name string) error {
		owner, _ := strings.CutSuffix(name, ".lock")
		i := v.item(usage.Staging, path.Join(id, owner))
		if f, err := v.store.temp.OpenFile(owner+".lock", os.O_RDWR, 0); err == nil {
			i.InUse = owner == v.store.scratch.name || unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) != nil
			if n, ok := readNote(f); ok {
				i.Description = n.String()
			}
			_ = closeLock(f)
		}
		if st, err := os.Lstat(filepath.Join(v.store.temp.Name(), name)); err == nil {
			i.LastUsed = st.ModTime()
		}
		return v.whole(dir, name, i)
	})
}

// lists goes through a directory in which the library has files of each layer or image.
func (v *survey) lists(kind usage.Kind, of string) func(dir *os.File, name string) error {
	return func(dir *os.File, name string) error {
		id, _, _ := strings.Cut(name, ".")
		if i := v.items[kind][id]; i != nil {
			return v.whole(dir, name, i)
		}
		return v.whole(dir, name, v.item(usage.Other, of))
	}
}

// private goes through what is ours alone.
func (v *survey) private(dir *os.File, name string) error {
	id := path.Join(privateDir(v.store.Driver()), name)
	switch {
	case slices.Contains(recordDirs, name):
		i := v.store.recordsItem(name)
		v.put(&i)
		return v.dir(dir, name, id, func(dir *os.File, name string) error { return v.whole(dir, name, &i) })
	case name == "mnt": // over which the worker has mounted something
		add(v.item(usage.Other, id), space{disk: v.store.private.mountPoint})
		return nil
	case name == cachesDir:
		return v.dir(dir, name, id, func(dir *os.File, name string) error {
			if isGone(name) {
				return v.whole(dir, name, v.item(usage.Staging, path.Join(id, name)))
			}
			i := v.store.cacheItem(name)
			i.InUse = v.store.cacheBusy(name)
			i.Reclaimable = !i.InUse
			return v.whole(dir, name, v.put(&i))
		})
	}
	return v.whole(dir, name, v.item(usage.Other, id))
}

// shares adds up what the layers of each image take, and those of them that no other has.
func (v *survey) shares(images []cs.Image) {
	layers := v.items[usage.Layer]
	count := map[string]int{}
	each := func(img *cs.Image, do func(*usage.Item)) {
		for l := layers[img.TopLayer]; l != nil; l = layers[l.Parent] {
			do(l)
		}
	}
	for i := range images {
		each(&images[i], func(l *usage.Item) { count[l.ID]++ })
	}
	for i := range images {
		of := v.items[usage.Image][images[i].ID]
		each(&images[i], func(l *usage.Item) {
			of.OfLayers += l.Size
			if count[l.ID] == 1 {
				of.OfLayersAlone += l.Size
			}
		})
	}
}
