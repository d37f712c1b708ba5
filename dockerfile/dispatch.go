package dockerfile

import (
	"context"
	"fmt"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/oakum-build/oakum/builder"
)

// dispatch does one instruction, whose variables are replaced. The Step is zero for one
// that cannot make a layer.
func (t *task) dispatch(ctx context.Context, c command) (builder.Step, error) {
	switch ic := c.expanded.(type) {
	case *instructions.RunCommand:
		return t.runCommand(ctx, c, ic)
	case *instructions.CopyCommand:
		return t.copyFiles(ctx, c, ic)
	case *instructions.AddCommand:
		return t.addFiles(ctx, ic)
	case *instructions.WorkdirCommand:
		return t.workdir(ctx, ic)
	}
	if err := t.configure(c.expanded); err != nil {
		return builder.Step{}, err
	}
	return builder.Step{}, t.fs.Config().Validate()
}

// configure does an instruction that changes only the configuration.
func (t *task) configure(c instructions.Command) error {
	switch c := c.(type) {
	case *instructions.ArgCommand:
		return t.arg(c)
	case *instructions.EnvCommand:
		t.env(c)
	case *instructions.LabelCommand:
		t.label(c)
	case *instructions.CmdCommand:
		t.cmd(c)
	case *instructions.EntrypointCommand:
		t.entrypoint(c)
	case *instructions.UserCommand:
		t.user(c)
	case *instructions.ExposeCommand:
		return t.expose(c)
	case *instructions.VolumeCommand:
		return t.volume(c)
	case *instructions.ShellCommand:
		t.shell(c)
	case *instructions.StopSignalCommand:
		return t.stopSignal(c)
	case *instructions.HealthCheckCommand:
		t.healthcheck(c)
	case *instructions.MaintainerCommand:
		return t.maintainer(c)
	case *instructions.OnbuildCommand:
		t.onbuild(c)
	default:
		return fmt.Errorf("instruction %s is not supported yet", c.Name())
	}
	return nil
}
