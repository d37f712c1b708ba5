//go:build linux

package worker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/builder/internal/input"
	"github.com/oakum-build/oakum/builder/internal/passwd"
	"github.com/oakum-build/oakum/builder/internal/protocol/outgoing"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/storage/tarfilter"
)

// export writes a tar of files to the caller. The files are read where they are, so that it costs
// no second copy of them.
func (w *worker) export(ctx context.Context, call *wire.Call, p outgoing.Export) (none wire.None, err error) {
	if len(call.Files) == 0 {
		return none, fmt.Errorf("%w: there is no file to write to", errdefs.ErrInvalid)
	}
	left := &tarfilter.LeftOut{}
	out := bufio.NewWriterSize(call.Files[0], 256<<10)
	to := filecopy.NewPacker(out, len(p.Parts) > 1)
	to.Plain, to.LeftOut = p.Plain, left
	for _, part := range p.Parts {
		if err := w.exportPart(ctx, call, to, part); err != nil {
			return none, err
		}
	}
	tell(call, left.Notices())
	return none, errors.Join(to.Close(), out.Flush())
}

func (w *worker) exportPart(ctx context.Context, call *wire.Call, to *filecopy.Packer, part outgoing.Part) (err error) {
	in, err := input.Find(ctx, w.inputs(call, false, nil), part.From)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	files, err := in.Open(ctx)
	if err != nil {
		return err
	}
	if owner := part.From.Chown; owner != "" {
		root, err := in.Root(ctx)
		if err != nil {
			return err
		}
		if files.Owner, err = ownerIn(root, owner); err != nil {
			return err
		}
	}
	return in.Read("", to.Add(ctx, part.Under, part.Label, files))
}

// ownerIn looks an owner up where the files themselves are.
func ownerIn(root *os.File, owner string) (*filecopy.IDs, error) {
	uid, gid, err := passwd.LookupOwner(root, owner)
	if err != nil {
		return nil, fmt.Errorf("chown: %w", err)
	}
	return &filecopy.IDs{UID: uid, GID: gid}, nil
}
