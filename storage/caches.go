//go:build linux

package storage

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/remove"
)

// The caches of commands are in <root>/oakum/caches. Each is a directory whose name is a hash of
// what names the cache, for an id is any text, and never a path. In it are
//
//	lock    which its users have locked, shared or not, for as long as they use the cache
//	record  what names it, as JSON
//	data    what commands see; it is there once the first content is whole
//
// Of a private cache there are several, the second with ".1" at the end of its name, and so on.
// Locks are those of open files (flock), so they hold between goroutines as well as between
// processes, and end with who has them. Who removes a cache has its lock, and takes its name away
// first: a lock that is had of a file which is not there any more under its name is of no use.
const (
	cachesDir   = "caches"
	cacheLock   = "lock"
	cacheRecord = "record"
	cacheData   = "data"
	half        = "new" // data that is being made
)

// CacheOptions say which cache is wanted, and how it is made.
type CacheOptions struct {
	// ID names the cache, with Content, the digest of its first content; that is "" when it is empty
	// at first.
	ID, Content string
	// Locked is for one user at once: others wait. Private gives others another one meanwhile. Else
	// all have it at once that want it so.
	Locked, Private bool
	// Mode, UID and GID are those of the directory when it is new.
	Mode     fs.FileMode
	UID, GID int
	// Fill, when not nil, puts the first content into a new one.
	Fill func(dir *os.File) error
	// Waiting, when not nil, is called once when another user is waited for and that takes long.
	Waiting func()
}

// Name is the cache's, which has no meaning but that it is the same for the same cache. Who wants
// several at once takes them in the order of their names, for else two might wait for each other.
func (o CacheOptions) Name() string {
	return fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%q %q", o.ID, o.Content)))
}

// Cache is a directory that is kept from one command to the next.
type Cache struct {
	lock, data *os.File
	coming     string // the directory that it is made in, of one by NewCache
}

// Dir is the directory. What is in it is of commands, and may change at any time: resolve by
// descriptor.
func (c *Cache) Dir() *os.File { return c.data }

// Close gives the cache to others. Nothing may use its files any more.
func (c *Cache) Close() error { return errors.Join(c.data.Close(), closeLock(c.lock)) }

// errBusy is a cache that others have.
var errBusy = errors.New("in use by another command")

// longWait is after which time CacheOptions.Waiting is called.
const longWait = 2 * time.Second

// OpenCache gives a cache, and makes it when there is none. It waits for others until
// ctx ends, unless it is private. It must be closed.
func (s *Store) OpenCache(ctx context.Context, o CacheOptions) (*Cache, error) {
	name := o.Name()
	for n := 1; ; n++ {
		c, err := s.openCache(ctx, name, o)
		if !errors.Is(err, errBusy) {
			if err != nil && ctx.Err() == nil {
				err = fmt.Errorf("cache %q: %w", o.ID, err)
			}
			return c, err
		}
		name = fmt.Sprintf("%s.%d", o.Name(), n)
	}
}

func (s *Store) openCache(ctx context.Context, name string, o CacheOptions) (*Cache, error) {
	how := unix.LOCK_SH
	if o.Locked || o.Private {
		how = unix.LOCK_EX
	}
	wait := waiting{tell: o.Waiting, not: o.Private}
	for {
		c, err := s.tryCache(ctx, name, how, &wait)
		if err != nil || c != nil {
			return c, err
		}
		// It is new, or its maker was killed: it is made under a lock that nobody shares. That is not
		// waited for: who has the cache by then may be another that made it meanwhile, and uses it for
		// long.
		made, err := s.lockCache(ctx, name, unix.LOCK_EX, &waiting{not: true})
		if errors.Is(err, errBusy) && !o.Private {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(time.Millisecond):
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		if err := errors.Join(s.makeCache(name, o), closeLock(made)); err != nil {
			return nil, err
		}
	}
}

// tryCache locks a cache, and gives nil when it has no data yet.
func (s *Store) tryCache(ctx context.Context, name string, how int, wait *waiting) (*Cache, error) {
	lock, err := s.lockCache(ctx, name, how, wait)
	if err != nil {
		return nil, err
	}
	data, err := s.private.OpenFile(path.Join(cachesDir, name, cacheData), os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err == nil {
		touch(filepath.Join(s.private.Name(), cachesDir, name, cacheLock))
		return &Cache{lock: lock, data: data}, nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return nil, errors.Join(err, closeLock(lock))
}

// lockCache locks the file of a cache that has its name still.
func (s *Store) lockCache(ctx context.Context, name string, how int, wait *waiting) (*os.File, error) {
	dir := path.Join(cachesDir, name)
	for {
		if err := s.private.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		lock, err := s.private.OpenFile(path.Join(dir, cacheLock), os.O_CREATE|os.O_RDWR, 0o600)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was just removed
		}
		if err != nil {
			return nil, err
		}
		err = wait.flock(ctx, lock, how)
		if errors.Is(err, errBusy) {
			err = s.unasked(func() error { return wait.flock(ctx, lock, how) })
		}
		if err != nil {
			return nil, errors.Join(err, lock.Close())
		}
		mine, err := lock.Stat()
		if err != nil {
			return nil, errors.Join(err, closeLock(lock))
		}
		named, err := s.private.Lstat(path.Join(dir, cacheLock))
		if err == nil && os.SameFile(mine, named) {
			return lock, nil
		}
		if err := closeLock(lock); err != nil {
			return nil, err
		}
	}
}

// unasked does something while nobody asks whether a cache is in use. Asking locks it for a moment, for which nobody is to take it for one in
// use.
func (s *Store) unasked(do func() error) error {
	caches, err := s.private.Open(cachesDir)
	if err == nil {
		err = unix.Flock(int(caches.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		return err
	}
	err = do()
	return errors.Join(err, closeLock(caches))
}

// waiting is how others are waited for.
type waiting struct {
	not   bool // at all
	tell  func()
	began time.Time
}

// flock locks a file.
func (w *waiting) flock(ctx context.Context, f *os.File, how int) error {
	return cmp.Or(w.lock(ctx, f, func() error { return unix.Flock(int(f.Fd()), how|unix.LOCK_NB) }), ctx.Err())
}

// lock asks for a lock of a file, again and again when others have it: one that is waited for in the kernel does not end
// with a context.
func (w *waiting) lock(ctx context.Context, f *os.File, try func() error) error {
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		err := try()
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES): // which a lock of fcntl may give, too
			return &os.PathError{Op: "lock", Path: f.Name(), Err: err}
		case w.not:
			return errBusy
		}
		if w.began.IsZero() {
			w.began = time.Now()
		}
		if w.tell != nil && time.Since(w.began) > longWait {
			w.tell()
			w.tell = nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// cacheNamed is what names a cache, in its record.
type cacheNamed struct{ ID, Content string }

// makeCache makes the data of a cache that is locked, unless another has. It is made beside its
// place, so that a process that is killed leaves none that is half filled.
func (s *Store) makeCache(name string, o CacheOptions) (err error) {
	dir, err := s.private.Open(path.Join(cachesDir, name))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	var st unix.Stat_t
	if unix.Fstatat(int(dir.Fd()), cacheData, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
		return nil
	}
	if err := remove.Force(dir, half); err != nil {
		return err
	}
	text, err := json.Marshal(cacheNamed{o.ID, o.Content})
	if err != nil {
		return err
	}
	if err := s.private.WriteFile(path.Join(cachesDir, name, cacheRecord), text, 0o600); err != nil {
		return err
	}
	if err := unix.Mkdirat(int(dir.Fd()), half, 0o700); err != nil {
		return wrap("mkdir", half, err)
	}
	data, err := s.private.Open(path.Join(cachesDir, name, half))
	if err != nil {
		return err
	}
	defer data.Close()
	if o.Fill != nil {
		if err := o.Fill(data); err != nil {
			return errors.Join(err, remove.Force(dir, half))
		}
	}
	if err := errors.Join(o.give(data), data.Chmod(o.Mode)); err != nil {
		return err
	}
	return wrap("rename", half, unix.Renameat(int(dir.Fd()), half, int(dir.Fd()), cacheData))
}

// give gives a directory to whom it is to belong. In a process that is not root, its own user
// stands for root.
func (o CacheOptions) give(dir *os.File) error {
	if os.Geteuid() != 0 && o.UID == 0 && o.GID == 0 {
		return nil
	}
	err := dir.Chown(o.UID, o.GID)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("it cannot belong to %d:%d, for which this process has no ids: %w", o.UID, o.GID, err)
	}
	return err
}

// gone begins the names of caches that are being removed.
const gone = "gone-"

func isGone(name string) bool { return strings.HasPrefix(name, gone) }

// sweepCaches removes the caches whose removal a killed process has begun: others may have their names since.
func (s *Store) sweepCaches(out *Pruned) error {
	names, err := s.names(cachesDir)
	if err != nil {
		return err
	}
	dir, err := s.private.Open(cachesDir)
	if err != nil {
		return err
	}
	defer dir.Close()
	for _, name := range slices.DeleteFunc(names, func(name string) bool { return !isGone(name) }) {
		size, err := remove.Counted(dir, name)
		if err != nil {
			return fmt.Errorf("removing the cache %s: %w", name, err)
		}
		out.Caches++
		out.Size += size
	}
	return nil
}

// removeCache removes a cache, unless somebody uses it.
func (s *Store) removeCache(name string) (removed bool, err error) {
	dir, err := s.private.Open(cachesDir)
	if err != nil {
		return false, err
	}
	defer dir.Close()
	hidden, err := s.hideCache(dir, name, gone+name)
	if err != nil || !hidden {
		return false, err
	}
	return true, remove.Tree(dir, gone+name)
}

// hideCache gives a cache another name, unless somebody uses it.
func (s *Store) hideCache(dir *os.File, name, to string) (hidden bool, err error) {
	lock, err := s.lockCache(context.Background(), name, unix.LOCK_EX, &waiting{not: true})
	if errors.Is(err, errBusy) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, closeLock(lock)) }()
	return true, wrap("rename", name, unix.Renameat(int(dir.Fd()), name, int(dir.Fd()), to))
}
