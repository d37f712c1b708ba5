package dockerfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/isolation"
	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// runCommand does RUN.
func (t *task) runCommand(ctx context.Context, c command, ic *instructions.RunCommand) (builder.Step, error) {
	config := t.fs.Config()
	args, files, err := plan.RunArgs(ic, config.Shell)
	if err != nil {
		return builder.Step{}, err
	}
	history, err := t.scope.RunHistory(args)
	if err != nil {
		return builder.Step{}, err
	}
	mounts, err := t.mounts(ctx, c)
	if err != nil {
		return builder.Step{}, err
	}
	output := c.step.output() // one for both, so that their lines keep their order
	return t.fs.Run(ctx, builder.Cmd{
		Args:        args,
		History:     history,
		Files:       files,
		Mounts:      mounts,
		Isolation:   t.isolation(ic),
		Env:         t.scope.RunEnv(config.Env),
		UncachedEnv: t.plan.ProxyEnv(),
		Stdout:      output,
		Stderr:      output,
		OnError:     t.onError(c, config.Shell),
	})
}

// isolation says how the command of a RUN is kept apart from the machine.
func (t *task) isolation(c *instructions.RunCommand) isolation.Options {
	o := t.opts.Run.Isolation
	if o.Network.Hostname == "" {
		o.Network.Hostname = t.plan.Hostname()
	}
	switch instructions.GetNetwork(c) {
	case instructions.NetworkHost:
		o.Network.Mode = isolation.Host
	case instructions.NetworkNone:
		o.Network.Mode = isolation.None
	}
	if instructions.GetSecurity(c) == instructions.SecurityInsecure {
		o.Security.Insecure = true
	}
	for _, d := range instructions.GetDevices(c) {
		_, err := os.Lstat(d.Name)
		if !d.Required && (!path.IsAbs(d.Name) || errors.Is(err, fs.ErrNotExist)) {
			t.progress.warn(c.Location()[0].Start.Line, fmt.Sprintf("the device %s is not there, and left out", d.Name))
			continue
		}
		o.Devices = append(slices.Clone(o.Devices), d.Name)
	}
	return o
}

// workdir does WORKDIR.
func (t *task) workdir(ctx context.Context, c *instructions.WorkdirCommand) (builder.Step, error) {
	dir := c.Path
	if !path.IsAbs(dir) {
		dir = path.Join("/", t.fs.Config().WorkingDir, dir)
	}
	if err := (builder.Config{WorkingDir: dir}).Validate(); err != nil {
		return builder.Step{}, err
	}
	return t.fs.Workdir(ctx, dir, "WORKDIR "+dir)
}
