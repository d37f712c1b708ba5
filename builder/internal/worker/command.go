//go:build linux

package worker

import (
	"context"
	"errors"

	"github.com/oakum-build/oakum/builder/internal/runnable"
)

// Command asks what keeps a stage's command from running; the result is sentences.
type Command struct {
	Stage     string
	Args, Env []string
	Dir       string
	Volumes   []string
	Arch      string // GOARCH of the image
}

// checkCommand remembers by the layer and the command when there is no problem, so that
// a build without changes mounts nothing for it.
func (w *worker) checkCommand(ctx context.Context, p Command) ([]string, error) {
	s, err := w.stage(p.Stage)
	if err != nil {
		return nil, err
	}
	top := s.top()
	p.Stage = ""
	key, err := stepKey(top, p)
	if err != nil {
		return nil, err
	}
	if _, fine := w.store.Content(key); fine {
		return nil, nil
	}
	if top, err = s.claimed(); err != nil {
		return nil, err
	}
	m, err := w.mount(top, nil, false)
	if err != nil {
		return nil, err
	}
	problems := runnable.Check(m.root, runnable.Command{Args: p.Args, Env: p.Env, Dir: p.Dir, Volumes: p.Volumes, Arch: p.Arch})
	if err := errors.Join(ctx.Err(), m.close()); err != nil || len(problems) > 0 {
		return problems, err
	}
	return nil, w.store.RememberContent(key, key)
}
