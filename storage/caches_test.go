//go:build linux

package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/usage"
)

func openCache(t testing.TB, s *Store, o CacheOptions) *Cache {
	t.Helper()
	if o.Mode == 0 {
		o.Mode = 0o755
	}
	c, err := s.OpenCache(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func closeCache(t testing.TB, c *Cache) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// put writes a file of a cache, and has says what is in it.
func put(t testing.TB, c *Cache, name, text string) {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/self/fd/%d/%s", c.Dir().Fd(), name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func has(t testing.TB, c *Cache) string {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/self/fd/%d", c.Dir().Fd()))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// What one leaves in a cache the next finds, by whatever text names it.
func TestCaches(t *testing.T) {
	t.Parallel()
	s := open(t)
	ids := []string{"x", "../../../../x", "/", "", ".", "..", strings.Repeat("long", 1000), "a/b", "a\nb\x00", "x.1", "\xff"}
	want := CacheOptions{Mode: fs.ModeSticky | 0o770, UID: 3, GID: 4}
	if os.Geteuid() != 0 {
		want.ID = "of others"
		if _, err := s.OpenCache(t.Context(), want); !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "no ids") {
			t.Errorf("a cache of other ids: %v", err)
		}
		want.UID, want.GID = os.Getuid(), os.Getgid()
	}
	for i, id := range ids {
		want.ID = id
		c := openCache(t, s, want)
		info, err := c.Dir().Stat()
		if err != nil || has(t, c) != "" {
			t.Errorf("%q: %v, has %s", id, err, has(t, c))
		}
		if st := info.Sys(); info.Mode() != fs.ModeDir|fs.ModeSticky|0o770 || fmt.Sprint(owner(st)) != fmt.Sprint([]int{want.UID, want.GID}) {
			t.Errorf("%q is %s of %v", id, info.Mode(), owner(st))
		}
		put(t, c, fmt.Sprint("of", i), "")
		closeCache(t, c)
	}
	for i, id := range ids {
		c := openCache(t, s, CacheOptions{ID: id, Mode: 0o700})
		if got := has(t, c); got != fmt.Sprint("of", i) {
			t.Errorf("%q has %s", id, got)
		}
		closeCache(t, c)
	}
	// The names of the directories are hashes, and records say what they are of.
	all, err := fs.Glob(s.private.FS(), "caches/*/record")
	all = slices.DeleteFunc(all, func(name string) bool { return path.Dir(name) == "caches/"+CacheOptions{ID: "of others"}.Name() })
	if err != nil || len(all) != len(ids) {
		t.Fatalf("%q, %v", all, err)
	}
	var found []string
	for _, name := range all {
		var r cacheNamed
		data, err := s.private.ReadFile(name)
		if err := errors.Join(err, json.Unmarshal(data, &r)); err != nil || len(filepath.Base(filepath.Dir(name))) != 64 {
			t.Errorf("%s: %v", name, err)
		}
		found = append(found, r.ID)
	}
	for _, id := range ids {
		if !slices.Contains(found, strings.ToValidUTF8(id, "\ufffd")) {
			t.Errorf("no record of %q", id)
		}
	}
}

// The first content is put in once, and when that fails there is no cache.
func TestCacheFill(t *testing.T) {
	t.Parallel()
	s := open(t)
	fills := 0
	o := CacheOptions{ID: "x", Content: "1", Mode: 0o755, Fill: func(dir *os.File) error {
		fills++
		return os.WriteFile(fmt.Sprintf("/proc/self/fd/%d/first", dir.Fd()), nil, 0o600)
	}}
	for range 2 {
		c := openCache(t, s, o)
		if has(t, c) != "first" || fills != 1 {
			t.Errorf("has %s after %d fills", has(t, c), fills)
		}
		closeCache(t, c)
	}
	o.Content = "2"
	closeCache(t, openCache(t, s, o))
	if fills != 2 {
		t.Errorf("other content: %d fills", fills)
	}
	cause := errors.New("broken")
	bad := CacheOptions{ID: "bad", Mode: 0o755, Fill: func(dir *os.File) error {
		return errors.Join(os.WriteFile(fmt.Sprintf("/proc/self/fd/%d/half", dir.Fd()), nil, 0o600), cause)
	}}
	if _, err := s.OpenCache(t.Context(), bad); !errors.Is(err, cause) || !strings.Contains(err.Error(), `cache "bad"`) {
		t.Errorf("got %v", err)
	}
	// A process that was killed while it filled one leaves it half filled, too.
	dir := filepath.Join(s.private.Name(), cachesDir, bad.Name(), "new", "deep")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	bad.Fill = nil
	c := openCache(t, s, bad)
	defer closeCache(t, c)
	if got := has(t, c); got != "" {
		t.Errorf("after a failure the cache has %s", got)
	}
}

// Shared is had by all at once, locked by one, and of a private one each has its own.
func TestCacheSharing(t *testing.T) {
	t.Parallel()
	s := open(t)
	const shared, locked, private = "shared", "locked", "private"
	of := func(id, how string) CacheOptions {
		return CacheOptions{ID: id, Mode: 0o755, Locked: how == locked, Private: how == private}
	}
	wanted := func(id, how string, waits bool) (*Cache, error) {
		patience := time.Minute
		if waits {
			patience = 20 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		return s.OpenCache(ctx, of(id, how))
	}
	for _, test := range []struct {
		first, second string
		waits, same   bool
	}{
		{shared, shared, false, true}, {shared, locked, true, false}, {shared, private, false, false},
		{locked, shared, true, false}, {locked, locked, true, false}, {locked, private, false, false},
		{private, shared, true, false}, {private, locked, true, false}, {private, private, false, false},
	} {
		name := fmt.Sprint(test.first, test.second)
		first := openCache(t, s, of(name, test.first))
		put(t, first, "f", "")
		second, err := wanted(name, test.second, test.waits)
		if waited := errors.Is(err, context.DeadlineExceeded); waited != test.waits {
			t.Errorf("%s: got %v", name, err)
		}
		if err == nil {
			if same := has(t, second) == "f"; same != test.same {
				t.Errorf("%s: the same cache: %t", name, same)
			}
			closeCache(t, second)
		}
		closeCache(t, first)
		// Once it is free all get the first.
		second = openCache(t, s, of(name, test.second))
		if got := has(t, second); got != "f" {
			t.Errorf("%s: it has %q", name, got)
		}
		closeCache(t, second)
	}
	// Of three private ones that are free again, three are found again.
	var all []*Cache
	for i := range 3 {
		all = append(all, openCache(t, s, of("p", private)))
		put(t, all[i], fmt.Sprint(i), "")
	}
	// A process that is being started meanwhile has a copy of the descriptors.
	held, err := unix.Dup(int(all[1].lock.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(held)
	closeCache(t, all[1])
	again := openCache(t, s, of("p", private))
	if got := has(t, again); got != "1" {
		t.Errorf("the one that is free has %s", got)
	}
	for _, c := range []*Cache{all[0], all[2], again} {
		closeCache(t, c)
	}
}

// A shared cache that is new is had by all who want it at the same moment, and by none only when
// another is done with it.
func TestCacheSharedAtFirst(t *testing.T) {
	t.Parallel()
	s := open(t)
	const users = 4
	for i := range 50 {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		var all, have sync.WaitGroup
		have.Add(users)
		for range users {
			all.Go(func() {
				c, err := s.OpenCache(ctx, CacheOptions{ID: fmt.Sprint(i), Mode: 0o755})
				have.Done()
				if err != nil {
					t.Error(err)
					return
				}
				have.Wait() // until the others have it, too, or have given up
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		cancel()
		if t.Failed() {
			return
		}
	}
}

// Many goroutines, some of which give up, have a locked cache one after the other.
func TestCacheRace(t *testing.T) {
	t.Parallel()
	s := open(t)
	var inside, had atomic.Int32
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			if i%4 == 0 {
				ctx, cancel = context.WithTimeout(t.Context(), time.Duration(i)*time.Millisecond)
			}
			defer cancel()
			locked := i%5 != 1
			c, err := s.OpenCache(ctx, CacheOptions{ID: "x", Mode: 0o755, Locked: locked})
			if err != nil {
				if i%4 != 0 || !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
				return
			}
			had.Add(1)
			if n := inside.Add(1); n != 1 && locked {
				t.Errorf("%d have it", n)
			}
			time.Sleep(time.Millisecond)
			inside.Add(-1)
			closeCache(t, c)
		})
	}
	all.Wait()
	if had.Load() < 30 {
		t.Errorf("%d had it", had.Load())
	}
}

// Prune removes the caches that none uses, and says how large they were.
func TestPruneCaches(t *testing.T) {
	t.Parallel()
	s := open(t)
	free := openCache(t, s, CacheOptions{ID: "free"})
	put(t, free, "f", strings.Repeat("x", 100<<10))
	if err := os.MkdirAll(fmt.Sprintf("/proc/self/fd/%d/%s", free.Dir().Fd(), strings.Repeat("d/", 100)), 0); err != nil && !errors.Is(err, fs.ErrPermission) {
		t.Fatal(err)
	}
	closeCache(t, free)
	used := openCache(t, s, CacheOptions{ID: "used"})
	put(t, used, "f", "kept")
	if err := s.private.MkdirAll("caches/gone-by-a-killed-process/data", 0o700); err != nil {
		t.Fatal(err)
	}
	want := onDisk(t, filepath.Join(s.private.Name(), cachesDir, CacheOptions{ID: "free"}.Name()))
	got, err := s.Prune(t.Context(), usage.Options{})
	if err != nil || got.Caches != 2 || got.Size != want {
		t.Errorf("%+v, %v", got, err)
	}
	if left, err := s.names(cachesDir); err != nil || !slices.Equal(left, []string{CacheOptions{ID: "used"}.Name()}) {
		t.Errorf("left are %q, %v", left, err)
	}
	if got := has(t, used); got != "f" {
		t.Errorf("the one in use has %q", got)
	}
	// Who waits for one that is removed meanwhile gets a new one.
	waits, waiting := make(chan *Cache), make(chan struct{})
	lock := openCache(t, s, CacheOptions{ID: "waited", Locked: true})
	put(t, lock, "old", "")
	go func() {
		c, err := s.OpenCache(t.Context(), CacheOptions{ID: "waited", Mode: 0o755, Locked: true, Waiting: func() { close(waiting) }})
		if err != nil {
			t.Error(err)
		}
		waits <- c
	}()
	<-waiting
	dir, err := s.private.Open(cachesDir)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	name := CacheOptions{ID: "waited"}.Name() // which is also that of the new one, while the old is being removed
	if err := unix.Renameat(int(dir.Fd()), name, int(dir.Fd()), gone+name); err != nil {
		t.Fatal(err)
	}
	other := openCache(t, s, CacheOptions{ID: "waited", Locked: true})
	put(t, other, "new", "")
	closeCache(t, lock)
	select {
	case <-waits:
		t.Fatal("two have the new one")
	case <-time.After(150 * time.Millisecond):
	}
	closeCache(t, other)
	c := <-waits
	if got := has(t, c); got != "new" {
		t.Errorf("the new one has %q", got)
	}
	closeCache(t, c)
	closeCache(t, used)
	if got, err := s.Prune(t.Context(), usage.Options{}); err != nil || got.Caches != 3 {
		t.Errorf("%+v, %v", got, err)
	}
}

// A process that is killed has locked nothing any more, and what it left is there.
func TestCacheKilled(t *testing.T) {
	t.Parallel()
	s := open(t)
	closeCache(t, openCache(t, s, CacheOptions{ID: "x"}))
	path := filepath.Join(s.private.Name(), cachesDir, CacheOptions{ID: "x"}.Name())
	holder := exec.Command("flock", "-x", filepath.Join(path, cacheLock), "sh", "-c", "echo x >"+filepath.Join(path, cacheData, "left")+"; echo has; exec sleep 600")
	holder.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := holder.StdoutPipe()
	if err := errors.Join(err, holder.Start()); err != nil {
		t.Fatal(err)
	}
	end := sync.OnceValue(func() error { // with what it has started
		err := unix.Kill(-holder.Process.Pid, unix.SIGKILL)
		_ = holder.Wait()
		return err
	})
	t.Cleanup(func() { _ = end() })
	if _, err := out.Read(make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	told := make(chan bool, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if c, err := s.OpenCache(ctx, CacheOptions{ID: "x", Mode: 0o755, Waiting: func() { told <- true; cancel() }}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, %v of a cache that another process has locked", c, err)
	}
	if len(told) != 1 {
		t.Error("nothing was told of the waiting")
	}
	if got, err := s.Prune(t.Context(), usage.Options{}); err != nil || got.Caches != 0 {
		t.Errorf("of a cache that another process has locked, %+v, %v", got, err)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	c := openCache(t, s, CacheOptions{ID: "x"})
	defer closeCache(t, c)
	if got := has(t, c); got != "left" {
		t.Errorf("it has %q", got)
	}
}

// owner gives a file's owner and group.
func owner(sys any) []uint32 {
	st := sys.(*syscall.Stat_t)
	return []uint32{st.Uid, st.Gid}
}

// Who asks whether a cache is in use has nobody take another one in its place.
func TestCacheAskedFor(t *testing.T) {
	t.Parallel()
	s := open(t)
	o := CacheOptions{ID: "asked for", Mode: 0o755, Private: true}
	c, err := s.OpenCache(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if !s.cacheBusy(o.Name()) {
		t.Error("a cache in use is told to be free")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	var asking sync.WaitGroup
	for range 4 {
		asking.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
					s.cacheBusy(o.Name())
				}
			}
		})
	}
	for range 300 {
		c, err := s.OpenCache(t.Context(), o)
		if err != nil {
			t.Error(err)
			break
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	close(over)
	asking.Wait()
	names, err := s.names(cachesDir)
	if err != nil || len(names) != 1 {
		t.Errorf("%q, %v", names, err)
	}
}
