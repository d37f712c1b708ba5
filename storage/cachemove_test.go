//go:build linux

package storage

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/oakum-build/oakum/storage/usage"
)

// comingCache makes what NewCache gives, with a file in it.
func comingCache(t testing.TB, s *Store, file string) *Cache {
	t.Helper()
	c, err := s.NewCache(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	put(t, c, file, "")
	t.Cleanup(func() {
		if err := s.DropCache(c); err != nil {
			t.Error(err)
		}
	})
	return c
}

func cacheDirs(t testing.TB, s *Store) string {
	t.Helper()
	names, err := s.names(cachesDir)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, " ")
}

// What comes from elsewhere is a cache once it is in its place, and not before; one that is there stays unless it
// is to be replaced.
func TestCachesCome(t *testing.T) {
	t.Parallel()
	s := open(t)
	want := CacheOptions{ID: "x", Content: "y", Mode: fs.ModeSticky | 0o750}
	first := comingCache(t, s, "first")
	if all, err := s.Caches(); err != nil || len(all) != 0 || s.HasCache(want) {
		t.Errorf("there are %+v, %v", all, err)
	}
	if c, err := s.FindCache(t.Context(), want); c != nil || err != nil {
		t.Errorf("found %v, %v", c, err)
	}
	placed, err := s.PlaceCache(t.Context(), first, want, false)
	if err != nil || !placed {
		t.Fatal(placed, err)
	}
	for i, test := range []struct {
		replace bool
		want    string
	}{{false, "first"}, {true, "second"}} {
		second := comingCache(t, s, "second")
		placed, err := s.PlaceCache(t.Context(), second, want, test.replace)
		if err != nil || placed != test.replace {
			t.Error(i, placed, err)
		}
		c, err := s.FindCache(t.Context(), want)
		if err != nil || c == nil {
			t.Fatal(c, err)
		}
		info, err := c.Dir().Stat()
		if err != nil || has(t, c) != test.want || info.Mode() != fs.ModeDir|fs.ModeSticky|0o750 {
			t.Errorf("has %s, %v, %v", has(t, c), info.Mode(), err)
		}
		closeCache(t, c)
	}
	all, err := s.Caches()
	if err != nil || len(all) != 1 || all[0].ID != "x" || all[0].Content != "y" {
		t.Errorf("there are %+v, %v", all, err)
	}
}

// A cache that is in use is waited for, and one that is being filled is removed by nobody but its maker, or
// when that has died.
func TestCachesComeWhileInUse(t *testing.T) {
	t.Parallel()
	s := open(t)
	want := CacheOptions{ID: "x", Mode: 0o755}
	used := openCache(t, s, want)
	put(t, used, "here", "")
	c := comingCache(t, s, "there")
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := s.PlaceCache(short, c, want, true); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if _, err := s.FindCache(short, want); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if has(t, used) != "here" {
		t.Errorf("it has %s", has(t, used))
	}
	out, err := s.Prune(t.Context(), usage.Options{})
	if err != nil || out.Caches != 0 {
		t.Errorf("%+v, %v", out, err)
	}
	closeCache(t, used)
	if placed, err := s.PlaceCache(t.Context(), c, want, true); err != nil || !placed {
		t.Error(placed, err)
	}
	dead := comingCache(t, s, "half")
	if err := closeLock(dead.lock); err != nil {
		t.Fatal(err)
	}
	if out, err = s.Prune(t.Context(), usage.Options{}); err != nil || out.Caches != 2 || cacheDirs(t, s) != c.coming {
		t.Errorf("%+v, %v, there are %s", out, err, cacheDirs(t, s))
	}
	dead.lock, _ = os.Open(os.DevNull)
	// What a process that was killed left of a replacement is in nobody's way.
	for _, name := range []string{half, replaced} {
		again := openCache(t, s, want)
		if err := s.private.MkdirAll("caches/"+want.Name()+"/"+name+"/deep", 0o700); err != nil {
			t.Fatal(err)
		}
		closeCache(t, again)
		if placed, err := s.PlaceCache(t.Context(), comingCache(t, s, "new"), want, true); err != nil || !placed {
			t.Error(name, placed, err)
		}
	}
}
