package dockerfile

import (
	"context"
	"path"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// runCommand does RUN.
func (w *worker) runCommand(ctx context.Context, c *instructions.RunCommand, s *step) error {
	config := w.fs.Config()
	args, files, err := plan.RunArgs(c, config.Shell)
	if err != nil {
		return err
	}
	history, err := w.scope.RunHistory(args)
	if err != nil {
		return err
	}
	w.fs.Describe(history)
	output := s.output() // one for both, so that their lines keep their order
	return w.fs.Run(ctx, builder.Cmd{
		Args:        args,
		Files:       files,
		Hostname:    w.plan.Hostname(),
		Env:         w.scope.RunEnv(config.Env),
		UncachedEnv: w.plan.ProxyEnv(),
		Stdout:      output,
		Stderr:      output,
	})
}

// workdir does WORKDIR.
func (w *worker) workdir(ctx context.Context, c *instructions.WorkdirCommand) error {
	dir := c.Path
	if !path.IsAbs(dir) {
		dir = path.Join("/", w.fs.Config().WorkingDir, dir)
	}
	if err := (builder.Config{WorkingDir: dir}).Validate(); err != nil {
		return err
	}
	w.fs.Describe("WORKDIR " + dir)
	return w.fs.Workdir(ctx, dir)
}
