//go:build linux

package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/builder/internal/input"
	"github.com/oakum-build/oakum/builder/internal/passwd"
	"github.com/oakum-build/oakum/builder/internal/sandbox"
	"github.com/oakum-build/oakum/builder/internal/userns"
	"github.com/oakum-build/oakum/builder/mount"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/tarfilter"
)

// caches are those of one command.
type caches struct {
	wanted []wanted
	firsts input.Inputs // of which their first content is
}

// wanted is a cache, and the numbers of the mounts that show it.
type wanted struct {
	name   string
	mounts []int
	opts   storage.CacheOptions
	cache  *storage.Cache
}

// take takes all caches of a command. It does so in an order that all commands have, so that no two
// wait for each other, and each once, so that a command does not wait for itself.
func (c *caches) take(ctx context.Context, m *mounts) error {
	for i := range m.list {
		if m.list[i].Cache == nil {
			continue
		}
		opts, err := c.options(ctx, m, i)
		if err != nil {
			return fmt.Errorf("%s: %w", &m.list[i], err)
		}
		c.want(opts, i)
	}
	slices.SortFunc(c.wanted, func(a, b wanted) int {
		if a.name == b.name && a.opts.Private != b.opts.Private {
			return map[bool]int{true: 1, false: -1}[a.opts.Private] // it is the one that need not wait
		}
		return strings.Compare(a.name, b.name)
	})
	for i := range c.wanted {
		w := &c.wanted[i]
		var err error
		if w.cache, err = m.w.store.OpenCache(ctx, w.opts); err != nil {
			return fmt.Errorf("%s: %w", &m.list[w.mounts[0]], err)
		}
	}
	return nil
}

// want notes that a mount shows a cache. One that is shared and locked by the same command is
// locked; private ones are several.
func (c *caches) want(opts storage.CacheOptions, i int) {
	name := opts.Name()
	at := slices.IndexFunc(c.wanted, func(w wanted) bool { return w.name == name && !w.opts.Private })
	if at < 0 || opts.Private {
		c.wanted = append(c.wanted, wanted{name: name, mounts: []int{i}, opts: opts})
		return
	}
	w := &c.wanted[at]
	w.mounts = append(w.mounts, i)
	w.opts.Locked = w.opts.Locked || opts.Locked
}

// options are those of the cache of a mount. Its first content names it, too, so that another one is
// made when that is another.
func (c *caches) options(ctx context.Context, m *mounts, i int) (storage.CacheOptions, error) {
	want := m.list[i].Cache
	o := storage.CacheOptions{
		ID: want.ID, Mode: cmp.Or(want.Mode, 0o755), UID: want.UID, GID: want.GID,
		// Where nothing can be mounted, it is moved to its place, where only one can have it.
		Locked: want.Sharing == mount.Locked || m.w.kind == userns.Plain && want.Sharing != mount.Private, Private: want.Sharing == mount.Private,
		Waiting: waitingFor(m.call, want.ID),
	}
	if err := passwd.CheckMapped("owner of the cache", passwd.User{UID: want.UID, GID: want.GID}); err != nil {
		return o, err
	}
	if m.list[i].Bind == nil {
		return o, nil
	}
	in, err := input.Find(ctx, m.env, *m.list[i].Bind)
	if err != nil {
		return o, err
	}
	c.firsts = append(c.firsts, in)
	if o.Content, err = in.Digest(ctx); err != nil {
		return o, err
	}
	o.Fill = func(dir *os.File) error { return fill(ctx, m, in, dir) }
	return o, nil
}

// fill copies what an input has into a new cache.
func fill(ctx context.Context, m *mounts, in *input.Input, dir *os.File) error {
	first, err := in.OpenSelected(ctx)
	if err != nil {
		return err
	}
	defer first.Close()
	if info, err := first.Stat(); err != nil || !info.IsDir() {
		return errors.Join(err, fmt.Errorf("%w: the first content of a cache is a directory, and %s is none", errdefs.ErrInvalid, first.Name()))
	}
	tree, err := in.Open(ctx)
	if err != nil {
		return err
	}
	left := &tarfilter.LeftOut{}
	digests, err := filecopy.Copy(ctx, filecopy.Target{Root: dir, Owners: m.w.owners(), Dest: "/", LeftOut: left}, []filecopy.Tree{tree})
	tell(m.call, left.Notices())
	_, err = input.Inputs{in}.Read(digests, err)
	return err
}

// show shows the cache of a mount, or the part of it that is wanted: other commands may change what
// leads there at any time, so it is looked up once, and mounted by what was found.
func (c *caches) show(m *mounts, i int) (shown, error) {
	at := slices.IndexFunc(c.wanted, func(w wanted) bool { return slices.Contains(w.mounts, i) })
	part := cmp.Or(m.list[i].Cache.Path, ".")
	f, err := filecopy.OpenShown(c.wanted[at].cache.Dir(), part, part)
	if err != nil {
		return shown{}, err
	}
	defer f.Close()
	s, err := m.w.showFixed(f, nil)
	plain := m.w.kind == userns.Plain
	s.mount.Owned = plain && !m.list[i].ReadOnly // a copy, to which what is written is lost
	if plain && i != c.wanted[at].mounts[0] {
		return shown{}, &errdefs.HostError{
			Missing: "a command is to see a cache in two places, which cannot be where nothing can be mounted",
			Remedy:  "mount it once, or build where user namespaces are allowed",
		}
	}
	return s, err
}

// close gives the caches to others.
func (c *caches) close() error {
	var err error
	for _, w := range c.wanted {
		if w.cache != nil {
			err = errors.Join(err, w.cache.Close())
		}
	}
	return errors.Join(err, c.firsts.Close())
}

// showFixed mounts a file or directory at a place of its own for the sandbox, until release, which
// then calls what is given.
func (w *worker) showFixed(f *os.File, release func() error) (shown, error) {
	if release == nil {
		release = func() error { return nil }
	}
	if w.kind == userns.Plain {
		return showPlain(f, release)
	}
	at, err := w.bindFixed(f)
	if err != nil {
		return shown{}, errors.Join(err, release())
	}
	s := shown{
		mount:   sandbox.Mount{Kind: sandbox.BindFile, Source: at.path},
		release: func() error { return errors.Join(at.close(), release()) },
	}
	if at.dir {
		s.mount.Kind = sandbox.BindDir
	}
	return s, nil
}

// showPlain shows a file or directory where it lies, which is in the store, where nobody exchanges it.
func showPlain(f *os.File, release func() error) (shown, error) {
	info, err := f.Stat()
	if err != nil {
		return shown{}, errors.Join(err, release())
	}
	path, err := os.Readlink(descriptor(f))
	if err != nil {
		return shown{}, errors.Join(err, release())
	}
	s := shown{mount: sandbox.Mount{Kind: sandbox.BindFile, Source: path}, release: release}
	if info.IsDir() {
		s.mount.Kind = sandbox.BindDir
	}
	return s, nil
}
