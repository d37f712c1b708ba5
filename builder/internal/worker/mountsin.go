//go:build linux

package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/cachemounts"
	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/extract"
	"github.com/oakum-build/oakum/builder/internal/passwd"
	"github.com/oakum-build/oakum/builder/internal/protocol/outgoing"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/builder/limits"
	"github.com/oakum-build/oakum/builder/mount"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/artifact"
	"github.com/oakum-build/oakum/storage/registry"
	"github.com/oakum-build/oakum/storage/remotecache"
	"github.com/oakum-build/oakum/storage/tarfilter"
)

// importMounts reads caches from elsewhere, which come from anywhere.
func (w *worker) importMounts(ctx context.Context, call *wire.Call, p outgoing.ImportMounts) (moved []mount.Moved, failed error) {
	from := w.mountsAt(call, p.From)
	if p.From == (remotecache.At{}) {
		scratch, remove, err := w.store.ScratchDir("mounts-")
		if err != nil {
			return nil, err
		}
		defer func() { failed = errors.Join(failed, remove()) }()
		dir, err := mountsLayout(ctx, call, scratch)
		if err != nil {
			return nil, err
		}
		defer dir.Close()
		from.Layout, from.Tag = procPath(dir), cachemounts.Tag
		defer func() { failed = renamed(failed, "the archive", from.String(), from.Layout) }()
	}
	in, err := w.store.ReadArtifact(ctx, from, cachemounts.Type, w.access(call, p.Access))
	if err != nil {
		return nil, err
	}
	defer in.Close()
	caches, err := cachemounts.Read(in.Manifest, func(d imgspec.Descriptor, read func(io.Reader) error) error { return in.Blob(ctx, d, read) })
	if err != nil {
		return nil, err
	}
	has := func(id string) bool {
		return slices.ContainsFunc(caches, func(c cachemounts.Cache) bool { return c.ID == id })
	}
	if err := checkIDs(p.IDs, has); err != nil {
		return nil, err
	}
	for _, c := range caches {
		if len(p.IDs) > 0 && !slices.Contains(p.IDs, c.ID) {
			continue
		}
		kept, err := w.readMount(ctx, call, in, c, p.Replace)
		if err != nil {
			return moved, fmt.Errorf("cache %q: %w", c.ID, err)
		}
		moved = append(moved, mount.Moved{ID: c.ID, First: c.First, Blob: c.Blob.Digest, Size: c.Blob.Size, Kept: kept})
	}
	return moved, nil
}

// mountsLayout opens the layout that is the call's first file, or is in it.
func mountsLayout(ctx context.Context, call *wire.Call, scratch string) (*os.File, error) {
	if len(call.Files) == 0 {
		return nil, fmt.Errorf("%w: there is no file to read", errdefs.ErrInvalid)
	}
	in := call.Files[0]
	info, err := in.Stat()
	if err != nil {
		return nil, err
	}
	var dir *os.File
	if info.IsDir() {
		dir, err = os.Open(procPath(in))
	} else {
		var plain *os.File
		if plain, err = plainFile(ctx, in, info, scratch); err != nil {
			return nil, err
		}
		defer plain.Close()
		dir, err = unpackLayout(ctx, plain, scratch)
	}
	return dir, err
}

// readMount reads one cache, unless there is one that stays.
func (w *worker) readMount(ctx context.Context, call *wire.Call, in *artifact.Reader, c cachemounts.Cache, replace bool) (kept bool, err error) {
	o := storage.CacheOptions{ID: c.ID, Content: c.First, Mode: fileMode(c.Mode), UID: c.UID, GID: c.GID, Waiting: waitingFor(call, c.ID)}
	if !replace && w.store.HasCache(o) {
		return true, nil
	}
	if err := passwd.CheckMapped("owner of the cache", passwd.User{UID: c.UID, GID: c.GID}); err != nil {
		return false, err
	}
	var room *storage.Cache
	defer func() { err = errors.Join(err, w.store.DropCache(room)) }()
	err = in.Blob(ctx, c.Blob, func(content io.Reader) error {
		if err := w.store.DropCache(room); err != nil { // what an earlier try has left
			return registry.Local(err)
		}
		if room, err = w.store.NewCache(ctx); err != nil {
			return registry.Local(err)
		}
		if err := w.unpackMount(ctx, call, c, room.Dir(), content); err != nil {
			return registry.Local(err)
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	placed, err := w.store.PlaceCache(ctx, room, o, replace)
	return !placed, err
}

// unpackMount unpacks the files of a cache by the rules of foreign archives. It may say how large it is, and is no
// larger than that.
func (w *worker) unpackMount(ctx context.Context, call *wire.Call, c cachemounts.Cache, dir *os.File, content io.Reader) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &st); err != nil {
		return err
	}
	if free := int64(st.Bavail) * st.Bsize; c.Size > free {
		return &limits.LimitError{What: "the files of the cache, of which the store has room for no more,", Limit: free, Unit: "bytes"}
	}
	left := &tarfilter.LeftOut{}
	judge := &tarfilter.Archive{AnyName: true, LeftOut: left}
	// Each file has a header of 512 bytes.
	o := extract.Options{Owners: w.owners(), MaxBytes: c.Size + 1, MaxFiles: c.Size/512 + 1}
	if o.Owners == nil {
		var err error
		if judge.Mapped, err = passwd.Mapped(); err != nil {
			return err
		}
	}
	err := extract.Archive(ctx, dir, content, judge, o)
	tell(call, left.Notices())
	return err
}
