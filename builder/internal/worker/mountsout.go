//go:build linux

package worker

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/cachemounts"
	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/builder/internal/protocol/outgoing"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/builder/mount"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/artifact"
	"github.com/oakum-build/oakum/storage/compression"
	"github.com/oakum-build/oakum/storage/remotecache"
	"github.com/oakum-build/oakum/storage/tarfilter"
)

// exportMounts writes caches elsewhere.
func (w *worker) exportMounts(ctx context.Context, call *wire.Call, p outgoing.ExportMounts) (moved []mount.Moved, err error) {
	chosen, err := w.chooseCaches(p.IDs)
	if err != nil {
		return nil, err
	}
	scratch, remove, err := w.store.ScratchDir("mounts-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	to := w.mountsAt(call, p.To)
	if p.To != (remotecache.At{}) {
		return w.writeMounts(ctx, call, p, chosen, to, scratch)
	}
	if len(call.Files) == 0 {
		return nil, fmt.Errorf("%w: there is no file to write to", errdefs.ErrInvalid)
	}
	// To a layout first, for the size of a blob stands before it in a tar.
	to.Layout, to.Tag = filepath.Join(scratch, "layout"), cachemounts.Tag
	if moved, err = w.writeMounts(ctx, call, p, chosen, to, scratch); err != nil {
		return nil, err
	}
	return moved, w.store.WriteLayout(ctx, call.Files[0], to.Layout)
}

// mountsAt completes where caches are written or read.
func (w *worker) mountsAt(call *wire.Call, at remotecache.At) remotecache.At {
	if at.Asked != "" {
		at.Place = w.reach(call).Place(at.Asked)
	}
	if at.Layout != "" && at.Tag == "" {
		at.Tag = cachemounts.Tag
	}
	return at
}

// chooseCaches gives the caches of some ids, or all.
func (w *worker) chooseCaches(ids []string) ([]storage.CacheOptions, error) {
	all, err := w.store.Caches()
	if err != nil {
		return nil, err
	}
	if len(all) == 0 && len(ids) == 0 {
		return nil, noCacheError("this store has no caches of RUN --mount=type=cache")
	}
	has := func(id string) bool {
		return slices.ContainsFunc(all, func(o storage.CacheOptions) bool { return o.ID == id })
	}
	if err := checkIDs(ids, has); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(o storage.CacheOptions) bool { return len(ids) > 0 && !slices.Contains(ids, o.ID) }), nil
}

// noCacheError says which caches are not there. It matches errdefs.ErrNotFound.
type noCacheError string

func (e noCacheError) Error() string      { return string(e) }
func (noCacheError) Is(target error) bool { return target == errdefs.ErrNotFound }

func checkIDs(ids []string, has func(string) bool) error {
	for _, id := range ids {
		if !has(id) {
			return noCacheError(fmt.Sprintf("there is no cache %q; the id of a mount without one is its target", id))
		}
	}
	return nil
}

// writeMounts writes caches to a place.
func (w *worker) writeMounts(ctx context.Context, call *wire.Call, p outgoing.ExportMounts, chosen []storage.CacheOptions, to remotecache.At, scratch string) (_ []mount.Moved, err error) {
	out, err := w.store.WriteArtifact(ctx, to, w.access(call, p.Access))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	var written []cachemounts.Cache
	var moved []mount.Moved
	for _, o := range chosen {
		o.Waiting = waitingFor(call, o.ID)
		c, err := w.writeMount(ctx, call, out, o, p.Compression, scratch)
		if err != nil {
			return nil, fmt.Errorf("cache %q: %w", o.ID, err)
		}
		if c == nil {
			continue // it was pruned meanwhile
		}
		written = append(written, *c)
		moved = append(moved, mount.Moved{ID: c.ID, First: c.First, Blob: c.Blob.Digest, Size: c.Blob.Size})
	}
	m, config, err := cachemounts.Write(written)
	if err != nil {
		return nil, err
	}
	if err := out.Blob(ctx, m.Config, bytes.NewReader(config), true); err != nil {
		return nil, err
	}
	_, err = out.Finish(ctx, m)
	return moved, err
}

// waitingFor tells the caller that a cache is waited for.
func waitingFor(call *wire.Call, id string) func() {
	return func() {
		noting(call)(fmt.Sprintf("waiting for the cache %q, which another command has locked", id))
	}
}

// writeMount writes one cache as a blob, or gives nil when it is gone. It is packed into a file first, so
// that commands wait for as long as that takes, and not for a registry.
func (w *worker) writeMount(ctx context.Context, call *wire.Call, out *artifact.Writer, o storage.CacheOptions, by compression.Choice, scratch string) (_ *cachemounts.Cache, err error) {
	f, err := os.CreateTemp(scratch, "blob-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	c, err := w.packMount(ctx, call, o, by, f)
	if c == nil || err != nil {
		return nil, err
	}
	return c, out.Blob(ctx, c.Blob, f, false)
}

// packMount packs a cache into a file while no command has it.
func (w *worker) packMount(ctx context.Context, call *wire.Call, o storage.CacheOptions, by compression.Choice, f *os.File) (_ *cachemounts.Cache, err error) {
	cache, err := w.store.FindCache(ctx, o)
	if cache == nil || err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, cache.Close()) }()
	own := w.owners()
	var st unix.Stat_t
	if err := own.Stat(cache.Dir(), "", &st); err != nil {
		return nil, err
	}
	sum, packed := digest.SHA256.Digester(), &counted{}
	z, err := by.NewWriter(io.MultiWriter(f, sum.Hash(), packed))
	if err != nil {
		return nil, err
	}
	tar := &counted{}
	left := &tarfilter.LeftOut{}
	to := bufio.NewWriterSize(io.MultiWriter(z, tar), 256<<10)
	packer := filecopy.NewPacker(to, false)
	packer.LeftOut = left
	err = packer.Add(ctx, "", "the cache", filecopy.Tree{Root: cache.Dir(), Owners: own})
	if err := errors.Join(err, packer.Close(), to.Flush(), z.Close()); err != nil {
		return nil, err
	}
	tell(call, left.Notices())
	return &cachemounts.Cache{
		ID: o.ID, First: o.Content, Mode: st.Mode & 0o7777, UID: int(st.Uid), GID: int(st.Gid), Size: tar.bytes,
		Blob: imgspec.Descriptor{MediaType: cachemounts.MediaType(by.Algorithm), Digest: sum.Digest(), Size: packed.bytes, Annotations: z.Annotations()},
	}, nil
}

// counted counts what is written.
type counted struct{ bytes int64 }

func (c *counted) Write(p []byte) (int, error) {
	c.bytes += int64(len(p))
	return len(p), nil
}

// fileMode is a mode of the system's as package io/fs has it.
func fileMode(mode uint32) fs.FileMode {
	out := fs.FileMode(mode & 0o777)
	for bit, is := range map[uint32]fs.FileMode{unix.S_ISUID: fs.ModeSetuid, unix.S_ISGID: fs.ModeSetgid, unix.S_ISVTX: fs.ModeSticky} {
		if mode&bit != 0 {
			out |= is
		}
	}
	return out
}
