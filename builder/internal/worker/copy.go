//go:build linux

package worker

import (
	"context"
	"fmt"
	"os"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/extract"
	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/builder/internal/input"
	"github.com/oakum-build/oakum/builder/internal/passwd"
	"github.com/oakum-build/oakum/builder/internal/protocol"
	"github.com/oakum-build/oakum/builder/internal/step"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/builder/internal/workspace"
	"github.com/oakum-build/oakum/storage/tarfilter"
)

func (w *worker) copy(ctx context.Context, call *wire.Call, p protocol.Copy) (protocol.Stepped, error) {
	s, err := w.stage(p.Stage)
	if err != nil {
		return protocol.Stepped{}, err
	}
	opts := s.Options()
	if opts.Lookup && opts.NoCache {
		return protocol.Stepped{}, errdefs.ErrUncached // nothing need be fetched for that
	}
	env := w.inputsOf(call, opts)
	env.Call.Later = true // a step that is found needs no file
	inputs, err := input.FindAll(ctx, env, p.Sources)
	if err != nil {
		return protocol.Stepped{}, err
	}
	defer inputs.Close()
	return stepped(w.do(ctx, s, step.Operation{
		Key:     copyKey(p, inputs),
		Note:    noting(call),
		Reach:   w.reach(call),
		Content: inputs.Digest, Inputs: inputs, Explained: explaining(call, s),
		Change: workspace.Change{Apart: p.Link},
		Do: func(ctx context.Context, ws workspace.Workspace) (string, error) {
			trees, err := inputs.Open(ctx)
			if err != nil {
				return "", err
			}
			return inputs.Read(w.copyInto(ctx, call, p, trees, ws))
		},
	}))
}

// copyInto copies what inputs have opened, and gives the digest of each.
func (w *worker) copyInto(ctx context.Context, call *wire.Call, p protocol.Copy, trees []filecopy.Tree, ws workspace.Workspace) (digests []string, err error) {
	left := &tarfilter.LeftOut{}
	defer func() { tell(call, left.Notices()) }()
	to := filecopy.Target{Root: ws.Root(), Owners: ws.Owners(), Dest: p.Dest, Dir: p.Dir, Apart: p.Link, Ahead: ws.Ahead(), LeftOut: left}
	for i, src := range p.Sources {
		if src.Chown == "" {
			continue
		}
		uid, gid, err := passwd.LookupOwner(ws.Root(), src.Chown)
		if err != nil {
			return nil, fmt.Errorf("chown: %w", err)
		}
		to.Owner = filecopy.IDs{UID: uid, GID: gid}
		if err := checkOwner("owner "+src.Chown, to.Owner, ws.Owners()); err != nil {
			return nil, err
		}
		trees[i].Owner, trees[i].Chowned = &filecopy.IDs{UID: uid, GID: gid}, true
	}
	if p.Unpack {
		to.Unpack = func(f, dir *os.File, owner *filecopy.IDs) error {
			o := extract.Options{Owners: ws.Owners(), Owner: owner}
			o.MaxBytes, o.MaxFiles = w.store.LayerLimits()
			return unpack(ctx, left, f, dir, o)
		}
	}
	return filecopy.Copy(ctx, to, trees)
}

// unpack extracts the archive f into dir for ADD, with the archive's owners unless there is
// another, which this process must have then, or be able to remember.
func unpack(ctx context.Context, left *tarfilter.LeftOut, f, dir *os.File, o extract.Options) error {
	judge := &tarfilter.Archive{LeftOut: left}
	if o.Owner == nil && o.Owners == nil {
		mapped, err := passwd.Mapped()
		if err != nil {
			return err
		}
		judge.Mapped = mapped
	}
	return extract.Archive(ctx, dir, f, judge, o)
}
