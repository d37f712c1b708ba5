package dockerfile

import (
	"context"
	"fmt"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// dispatch does one instruction, and says whether it was one that can make a layer.
func (w *worker) dispatch(ctx context.Context, c plan.Command, from origin, s *step) (layer bool, err error) {
	if err := w.scope.Expand(c.Command); err != nil {
		return false, err
	}
	switch ic := c.Command.(type) {
	case *instructions.RunCommand:
		return true, w.runCommand(ctx, ic, s)
	case *instructions.CopyCommand:
		return true, w.copyFiles(ctx, ic, from)
	case *instructions.AddCommand:
		return true, w.addFiles(ctx, ic)
	case *instructions.WorkdirCommand:
		return true, w.workdir(ctx, ic)
	}
	if err := w.configure(c.Command); err != nil {
		return false, err
	}
	return false, w.fs.Config().Validate()
}

// configure does an instruction that changes only the configuration.
func (w *worker) configure(c instructions.Command) error {
	switch c := c.(type) {
	case *instructions.ArgCommand:
		return w.arg(c)
	case *instructions.EnvCommand:
		w.env(c)
	case *instructions.LabelCommand:
		w.label(c)
	case *instructions.CmdCommand:
		w.cmd(c)
	case *instructions.EntrypointCommand:
		w.entrypoint(c)
	case *instructions.UserCommand:
		w.user(c)
	case *instructions.ExposeCommand:
		return w.expose(c)
	case *instructions.VolumeCommand:
		return w.volume(c)
	case *instructions.ShellCommand:
		w.shell(c)
	case *instructions.StopSignalCommand:
		return w.stopSignal(c)
	case *instructions.HealthCheckCommand:
		w.healthcheck(c)
	case *instructions.MaintainerCommand:
		return w.maintainer(c)
	case *instructions.OnbuildCommand:
		w.onbuild(c)
	default:
		return fmt.Errorf("instruction %s is not supported yet", c.Name())
	}
	return nil
}
