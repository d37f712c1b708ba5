package dockerfile

import (
	"context"
	"slices"

	"github.com/oakum-build/oakum/builder"
)

// Failed is the command of a RUN that has failed, while its files, mounts and environment are
// still there.
type Failed struct {
	Line        int
	Stage       string
	Instruction string
	// Shell is what SHELL says, or /bin/sh, without what makes it take a command.
	Shell []string
	Err   *builder.ExitError
	// Run runs a command where the failed one has: see builder.Cmd.OnError.
	Run func(context.Context, builder.Cmd) error
}

// onError is what is called when the command of a RUN fails; nil is nothing.
func (t *task) onError(c command, shell []string) func(context.Context, *builder.ExitError, func(context.Context, builder.Cmd) error) {
	if t.opts.Steps.OnError == nil {
		return nil
	}
	return func(ctx context.Context, err *builder.ExitError, run func(context.Context, builder.Cmd) error) {
		t.opts.Steps.OnError(ctx, Failed{Line: c.Line, Stage: t.Name, Instruction: title(c.Command), Shell: interactive(shell), Err: err, Run: run})
	}
}

// interactive is a shell that is given no command: the one of SHELL with its options, as far as it
// is known which of them is for the command.
func interactive(shell []string) []string {
	if i := slices.Index(shell, "-c"); i > 0 {
		return shell[:i]
	}
	if len(shell) > 0 {
		return shell[:1]
	}
	return []string{"/bin/sh"}
}
