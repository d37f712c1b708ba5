//go:build linux

package storage

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/usage"
)

// onDisk is what du says of a directory.
func onDisk(t testing.TB, dir string) int64 {
	t.Helper()
	out, err := exec.Command("du", "-sx", "--block-size=1", dir).Output()
	if len(out) == 0 { // it fails where it may not read a directory, and says all the same what it has seen
		t.Fatal(err)
	}
	size, err := strconv.ParseInt(strings.Fields(string(out))[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return size
}

// The sum of all items is what du says, whatever lies in the store, and each file is of the right item.
func TestDiskUsage(t *testing.T) {
	t.Parallel()
	s, root := openAt(t)
	base := layer(t, s, nil, "f", noise(300<<10, 1))
	top := layer(t, s, base, "g", noise(200<<10, 2))
	commit(t, s, base, "below")
	commit(t, s, top, "app")
	cached := layer(t, s, base, "h", noise(100<<10, 3))
	record(t, s, 1, 2, base, cached)
	hostileCache(t, s)
	if err := os.WriteFile(filepath.Join(root, "volume"), []byte("of another program"), 0o600); err != nil {
		t.Fatal(err)
	}
	u := use(t, s, cached)
	defer u.Close()
	// A layer of another program's on one that nobody else wants: neither can go.
	lower := layer(t, s, nil, "l", "")
	foreign, err := s.cs.CreateLayer("", lower.ID(), nil, "", false, nil)
	if err != nil {
		t.Fatal(err)
	}
	locked := openCache(t, s, CacheOptions{ID: "locked"})
	defer closeCache(t, locked)
	eventually(t, "a hold", func() bool { return len(layerIDs(t, s)) == 6 })
	r, err := s.DiskUsage(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := onDisk(t, root); r.Size != want {
		t.Errorf("%d bytes, of which du knows %d", r.Size, want)
	}
	var sum, apparent int64
	items := map[string]usage.Item{}
	for _, i := range r.Items {
		sum += i.Size
		apparent += i.Apparent
		items[string(i.Kind)+" "+i.ID] = i
	}
	if sum != r.Size || apparent != r.Apparent || r.Root != root || r.Free <= 0 {
		t.Errorf("%+v, of items of %d and %d", r, sum, apparent)
	}
	for _, want := range []struct {
		l                    *Layer
		size                 int64
		shared, inUse, canGo bool
	}{{base, 300 << 10, true, true, false}, {top, 200 << 10, true, false, false}, {cached, 100 << 10, false, true, false}} {
		i := items["layer "+want.l.ID()]
		if i.Size < want.size || i.Size > want.size+(60<<10) || i.Shared != want.shared || i.InUse != want.inUse || i.Reclaimable != want.canGo || i.Parent != want.l.Parent().ID() || i.Base {
			t.Errorf("%+v, of which is wanted %+v", i, want)
		}
		files := onDisk(t, filepath.Join(s.layersHome(), i.ID))
		if split := filepath.Join(root, s.Driver()+"-layers", i.ID+splitSuffix); s.Driver() != DriverTree { // which has none
			files += onDisk(t, split)
		}
		if i.Size != files {
			t.Errorf("%+v has %d bytes", i, files)
		}
	}
	if i, on := items["layer "+lower.ID()], items["layer "+foreign.ID]; i.Base || i.Reclaimable || !on.Base || on.Reclaimable {
		t.Errorf("%+v, below %+v", i, on)
	}
	for _, img := range r.Items {
		if files := filepath.Join(root, s.Driver()+"-images", img.ID); img.Kind == usage.Image && img.Size != onDisk(t, files) {
			t.Errorf("%+v has %d bytes", img, onDisk(t, files))
		}
		if img.Kind == usage.Image && strings.Contains(img.Description, "app") && (img.OfLayers != items["layer "+base.ID()].Size+items["layer "+top.ID()].Size || img.OfLayersAlone != items["layer "+top.ID()].Size) {
			t.Errorf("%+v", img)
		}
	}
	cache := items["cachemount "+CacheOptions{ID: "hostile"}.Name()]
	if cache.Description != "hostile" || cache.Size < 100<<10 || !cache.Reclaimable {
		t.Errorf("%+v", cache)
	}
	if i := items["cachemount "+CacheOptions{ID: "locked"}.Name()]; !i.InUse || i.Reclaimable {
		t.Errorf("%+v", i)
	}
	if i := items["other volume"]; i.Apparent != int64(len("of another program")) {
		t.Errorf("%+v", i)
	}
	if i := items["records records"]; i.Size == 0 || i.LastUsed.IsZero() || i.Reclaimable {
		t.Errorf("%+v", i)
	}
	chosen, err := s.DiskUsage(t.Context(), filters(t, "type=layer", "inuse=true", "shared=false"))
	// The layer, and the hold on it.
	if err != nil || len(chosen.Items) != 2 || chosen.Items[1].ID != cached.ID() || chosen.Items[0].Parent != cached.ID() || chosen.Size != r.Size {
		t.Errorf("%+v, %v", chosen, err)
	}
}

// hostileCache makes a cache with a file of two names, a hole, and directories nested deeper than files may be open.
func hostileCache(t *testing.T, s *Store) {
	t.Helper()
	c := openCache(t, s, CacheOptions{ID: "hostile"})
	defer closeCache(t, c)
	put(t, c, "f", noise(100<<10, 9))
	dir := fmt.Sprintf("/proc/self/fd/%d", c.Dir().Fd())
	if err := errors.Join(os.Link(dir+"/f", dir+"/g"), os.WriteFile(dir+"/hole", nil, 0o600), os.Truncate(dir+"/hole", 1<<30), os.Symlink("/", dir+"/out")); err != nil {
		t.Fatal(err)
	}
	at, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	const deep = 2500
	for range deep {
		if err := unix.Mkdirat(int(at.Fd()), "d", 0o755); err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Openat(int(at.Fd()), "d", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		at.Close()
		if err != nil {
			t.Fatal(err)
		}
		at = os.NewFile(uintptr(fd), "d")
	}
	at.Close()
}

// A layer or cache is marked as used at most once in usage.Grain.
func TestLastUsed(t *testing.T) {
	t.Parallel()
	s := open(t)
	l := layer(t, s, nil, "f", "")
	u := s.Use(nil)
	defer u.Close()
	for _, test := range []struct {
		ago   time.Duration
		moves bool
	}{{usage.Grain / 2, false}, {2 * usage.Grain, true}, {-2 * usage.Grain, true}} {
		at := time.Now().Add(-test.ago)
		if err := os.Chtimes(filepath.Join(s.layersHome(), l.id), at, at); err != nil {
			t.Fatal(err)
		}
		if err := u.Take(l); err != nil {
			t.Fatal(err)
		}
		if is := s.layerUsed(l.id, time.Time{}); is.Equal(at) == test.moves || test.moves && time.Since(is) > time.Hour {
			t.Errorf("used %v ago it says %v", test.ago, time.Since(is))
		}
	}
	closeCache(t, openCache(t, s, CacheOptions{ID: "c"}))
	lock := filepath.Join(s.private.Name(), cachesDir, CacheOptions{ID: "c"}.Name(), cacheLock)
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(lock, past, past); err != nil {
		t.Fatal(err)
	}
	closeCache(t, openCache(t, s, CacheOptions{ID: "c"}))
	if i := s.cacheItem(CacheOptions{ID: "c"}.Name()); time.Since(i.LastUsed) > 30*time.Minute {
		t.Errorf("%+v", i)
	}
}
