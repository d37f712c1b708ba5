//go:build linux

package storage

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"

	"go.podman.io/storage/pkg/stringid"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/remove"
)

// Caches come to this store from others, and go there. The content of one that comes is made in a directory
// beside those of the caches, which is locked as theirs are, so that it is of nobody's use while it is
// made, and Prune removes it when its maker has died. Then it is moved into the directory of its cache
// while that is locked.
const (
	coming   = "coming-" // begins the names of the directories
	replaced = "old"     // in a cache, what has been replaced
)

// Caches are the names of all caches: their ID and Content. Where nothing can be mounted, the files of one in
// use are elsewhere for the time, so that it is not known of each that it is whole: FindCache says. Of a private cache, of which there may be
// several, it is the first. One whose ID is no text is left out, for it cannot be named elsewhere.
func (s *Store) Caches() ([]CacheOptions, error) {
	names, err := s.names(cachesDir)
	if err != nil {
		return nil, err
	}
	var all []CacheOptions
	for _, name := range names {
		text, err := s.private.ReadFile(path.Join(cachesDir, name, cacheRecord))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		var named cacheNamed
		if err := json.Unmarshal(text, &named); err != nil {
			continue // it was cut short, and is written again when the cache is wanted
		}
		o := CacheOptions{ID: named.ID, Content: named.Content}
		if o.Name() == name {
			all = append(all, o)
		}
	}
	slices.SortFunc(all, func(a, b CacheOptions) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Content, b.Content))
	})
	return all, nil
}

// HasCache says whether there is a cache, and nobody uses it in a way that it is moved for.
func (s *Store) HasCache(o CacheOptions) bool {
	info, err := s.private.Lstat(path.Join(cachesDir, o.Name(), cacheData))
	return err == nil && info.IsDir()
}

// FindCache locks a cache that there is, so that no command has it at the time, of whatever sharing. It
// waits for those that do until ctx ends, and gives nil when there is no such cache, or no more.
func (s *Store) FindCache(ctx context.Context, o CacheOptions) (*Cache, error) {
	_, err := s.private.Lstat(path.Join(cachesDir, o.Name(), cacheRecord))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return s.tryCache(ctx, o.Name(), unix.LOCK_EX, &waiting{tell: o.Waiting})
}

// NewCache makes an empty directory for the content of a cache that comes from elsewhere. PlaceCache makes
// it a cache; DropCache closes it, and removes it if it is none.
func (s *Store) NewCache(ctx context.Context) (*Cache, error) {
	name := coming + stringid.GenerateRandomID()[:16]
	lock, err := s.lockCache(ctx, name, unix.LOCK_EX, &waiting{})
	if err != nil {
		return nil, err
	}
	c := &Cache{lock: lock, coming: name}
	err = s.private.Mkdir(path.Join(cachesDir, name, half), 0o700)
	if err == nil {
		c.data, err = s.private.OpenFile(path.Join(cachesDir, name, half), os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	}
	if err != nil {
		return nil, errors.Join(err, s.DropCache(c))
	}
	return c, nil
}

// PlaceCache makes what NewCache has given, and somebody has filled, the cache of o, with its owner and mode. It
// waits for commands that have the cache. When there is one already it replaces that or, without replace,
// leaves all as it is and gives false.
func (s *Store) PlaceCache(ctx context.Context, c *Cache, o CacheOptions, replace bool) (placed bool, err error) {
	if err := o.give(c.data); err != nil {
		return false, err
	}
	name := o.Name()
	lock, err := s.lockCache(ctx, name, unix.LOCK_EX, &waiting{tell: o.Waiting})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, closeLock(lock)) }()
	if s.HasCache(o) && !replace {
		return false, nil
	}
	text, err := json.Marshal(cacheNamed{o.ID, o.Content})
	if err != nil {
		return false, err
	}
	if err := s.private.WriteFile(path.Join(cachesDir, name, cacheRecord), text, 0o600); err != nil {
		return false, err
	}
	to, err := s.private.Open(path.Join(cachesDir, name))
	if err != nil {
		return false, err
	}
	defer to.Close()
	if err := s.exchange(c, to, o); err != nil {
		return false, err
	}
	return true, nil
}

// exchange puts the content of one that comes into the directory of a cache that is locked. There it gets
// its mode, which may forbid to move it, and its name last.
func (s *Store) exchange(c *Cache, to *os.File, o CacheOptions) error {
	if err := errors.Join(remove.Force(to, half), remove.Force(to, replaced)); err != nil {
		return err
	}
	from, err := s.private.Open(path.Join(cachesDir, c.coming))
	if err != nil {
		return err
	}
	defer from.Close()
	if err := unix.Renameat(int(from.Fd()), half, int(to.Fd()), half); err != nil {
		return wrap("rename", half, err)
	}
	if err := c.data.Chmod(o.Mode); err != nil {
		return err
	}
	err = unix.Renameat(int(to.Fd()), cacheData, int(to.Fd()), replaced)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return wrap("rename", cacheData, err)
	}
	if err := unix.Renameat(int(to.Fd()), half, int(to.Fd()), cacheData); err != nil {
		return wrap("rename", half, err)
	}
	return remove.Force(to, replaced)
}

// DropCache closes what NewCache has given, and removes what is left of it. It may be nil.
func (s *Store) DropCache(c *Cache) error {
	if c == nil {
		return nil
	}
	var err error
	if c.data != nil {
		err = c.data.Close()
	}
	dir, failed := s.private.Open(cachesDir)
	if failed == nil {
		failed = errors.Join(remove.Force(dir, c.coming), dir.Close())
	}
	return errors.Join(err, failed, closeLock(c.lock))
}
