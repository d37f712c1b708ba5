package builder

import (
	"context"
	"fmt"
	"os"

	"github.com/oakum-build/oakum/builder/cache"
	"github.com/oakum-build/oakum/builder/internal/protocol/outgoing"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/builder/mount"
)

// ExportMounts writes caches of commands, those of a mount.Cache, to a registry, a layout or an archive, so
// that ImportMounts has them in the store of another machine. Each is copied while no command has it, for
// which ExportMounts waits, also where its mounts are shared: nothing is written half. Owners,
// modes, links and attributes are kept, times in whole seconds; of a private cache the first travels. What
// is in the registry already is not sent again. Of opts, Registry and Compression count; the zero value of
// that is zstd here. An id without a cache, and a store without any, is an error that matches ErrNotFound.
//
// It gives the caches in the order of their ids. What was written to an archive when it fails is none.
func (b *Builder) ExportMounts(ctx context.Context, what mount.Export, opts PushOptions) (moved []mount.Moved, err error) {
	if err := movedOnce(what.To, what.Archive != nil); err != nil {
		return nil, err
	}
	if opts.Compression.Algorithm == "" && opts.Compression.Level == nil {
		opts.Compression.Algorithm = "zstd"
	}
	o, err := PushOptions{Compression: opts.Compression}.options()
	if err != nil {
		return nil, err
	}
	at, name := b.place(what.To)
	defer b.forget(name)
	ask := outgoing.ExportMounts{IDs: what.IDs, To: at, Compression: o.Compression, Access: opts.Registry.or(b.opts.Registry).access()}
	if what.Archive == nil {
		return call(ctx, b, ask)
	}
	err = b.received(ctx, func(ctx context.Context, out *os.File) error {
		moved, err = callWith(ctx, b, nil, ask, wire.With{Files: []*os.File{out}})
		return err
	}, copyTo(what.Archive))
	return moved, err
}

// ImportMounts reads caches of commands that ExportMounts has written. Nothing that is read is believed: a
// cache is there when all of its bytes have come, have been compared with their digest and unpacked by the rules of foreign
// archives, and not before. A command that has the cache is waited for. What is no such artifact, or is
// broken, is an error that matches ErrInvalid; caches that came before it stay, and are given with the error.
//
// Whoever may write what is read decides what commands find in their caches, programs among it: read
// caches from nobody who may not change the build. Of opts, Registry counts.
func (b *Builder) ImportMounts(ctx context.Context, what mount.Import, opts PullOptions) ([]mount.Moved, error) {
	if err := movedOnce(what.From, what.Archive != nil); err != nil {
		return nil, err
	}
	st := &streams{}
	defer st.close()
	var files []*os.File
	switch f, ok := what.Archive.(*os.File); {
	case ok:
		files = append(files, f) // the worker reads it itself
	case what.Archive != nil:
		if _, err := st.addTar(what.Archive); err != nil {
			return nil, err
		}
		files = st.files()
	}
	defer context.AfterFunc(ctx, st.abort)()
	at, name := b.place(what.From)
	defer b.forget(name)
	ask := outgoing.ImportMounts{IDs: what.IDs, From: at, Replace: what.Replace, Access: opts.Registry.or(b.opts.Registry).access()}
	moved, err := callWith(ctx, b, nil, ask, wire.With{Files: files})
	if failed := st.wait(ctx); err == nil {
		err = failed
	}
	return moved, err
}

// movedOnce gives the error of caches that do not go to, or come from, one place or archive.
func movedOnce(at cache.At, archive bool) error {
	if archive && (at.Ref != "" || at.Layout != "" || at.Place != nil) {
		return fmt.Errorf("%w: caches go to one place, or into an archive", ErrInvalid)
	}
	if archive {
		return nil
	}
	if err := at.Check(); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}
