//go:build linux

package worker

import (
	"context"
	"errors"

	"github.com/oakum-build/oakum/builder/internal/protocol"
	"github.com/oakum-build/oakum/builder/internal/runnable"
	"github.com/oakum-build/oakum/builder/internal/step"
	"github.com/oakum-build/oakum/builder/internal/wire"
)

// checkCommand remembers by the layer and the command when there is no problem, so that
// a build without changes mounts nothing for it.
func (w *worker) checkCommand(ctx context.Context, call *wire.Call, p protocol.CheckCommand) ([]string, error) {
	s, err := w.stage(p.Stage)
	if err != nil {
		return nil, err
	}
	key := commandKey(p)
	if w.steps.Content(s.Top(), key, s.Options().Cache) != "" {
		return nil, nil
	}
	top, err := s.Claimed(ctx, w.reach(call))
	if err != nil {
		return nil, err
	}
	m, err := w.spaces.View(top)
	if err != nil {
		return nil, err
	}
	problems := runnable.Check(m.Root(), runnable.Command{Args: p.Args, Env: p.Env, Dir: p.Dir, Volumes: p.Volumes, Arch: p.Arch})
	if err := errors.Join(ctx.Err(), m.Close()); err != nil || len(problems) > 0 {
		return problems, err
	}
	w.steps.Remember(top, key, step.Sum("", key), s.Options().Cache)
	return nil, nil
}
