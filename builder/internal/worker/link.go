//go:build linux

package worker

import (
	"context"
	"errors"
	"os"

	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/storage"
)

// link does a step whose layer does not depend on the layers below (Dockerfile
// reference, COPY --link). Its result is recorded without them too: when they have
// changed, the layer that was made on others is put on these, byte for byte.
func (w *worker) link(ctx context.Context, s *stage, op operation) (Stepped, error) {
	free, err := s.key(nil, op.what)
	if err != nil {
		return Stepped{}, err
	}
	copyAnew, content, reused := op.do, "", false
	op.do = func(ctx context.Context, below *storage.Layer, staging storage.Staging) (string, error) {
		var err error
		if !s.noCache && w.store.StepSeen(free) {
			if content, err = op.content(ctx); err != nil {
				return "", err
			}
			if made, ok := w.store.Step(free, content); ok && made != nil {
				reused = true
				return content, w.duplicate(ctx, made, staging)
			}
		}
		if content, err = copyAnew(ctx, nil, staging); err != nil {
			return "", err
		}
		return content, uncover(staging)
	}
	below := s.top()
	out, err := w.step(ctx, s, op)
	if err != nil || out.Cached {
		return out, err
	}
	out.Cached = reused
	if l := s.top(); below != nil { // on nothing, the step itself has been recorded so
		w.recordLater(free, content, nil, l, func() {})
	}
	return out, nil
}

// uncover makes a layer that was made on nothing fit to go on others: overlay marked its
// new directories so that they would hide those below.
func uncover(staging storage.Staging) error {
	dir, err := os.Open(staging.Upper)
	if err != nil {
		return err
	}
	return errors.Join(filecopy.Uncover(dir), dir.Close())
}

// duplicate copies a layer's files, with their times, into a staging directory.
func (w *worker) duplicate(ctx context.Context, made *storage.Layer, staging storage.Staging) (err error) {
	use := w.store.Use(made)
	defer use.Close()
	if err := use.Claim(); err != nil {
		return err
	}
	dirs, err := made.Lowers()
	if err != nil {
		return err
	}
	defer storage.CloseAll(dirs)
	root, err := os.Open(staging.Upper)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(w.store.Intact(made), err, root.Close()) }()
	_, err = filecopy.Copy(ctx, filecopy.Target{Root: root, Dest: "/"}, []filecopy.Source{{Root: dirs[0]}}, nil)
	return err
}
