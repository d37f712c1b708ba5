package builder

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/protocol"
	"github.com/oakum-build/oakum/builder/internal/protocol/question"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/builder/isolation"
)

// answers are those to what the worker asks of a command.
func (s *Stage) answers(cmd Cmd, stdio *stdio, g *granting) *wire.Server {
	answers := s.b.answering()
	g.answer(answers)
	if cmd.OnError != nil {
		wire.Handle(answers, func(ctx context.Context, _ *wire.Call, q question.Failed) (wire.None, error) {
			_ = stdio.finish(ctx, nil) // what it wrote comes before what is told of its end
			exit := s.exitError(cmd.Args, q.Exit, stdio.tail.bytes())
			run := func(ctx context.Context, again Cmd) error { return s.rerun(ctx, q.Held, again) }
			err := guarded("Cmd.OnError", func() error { cmd.OnError(ctx, exit, run); return nil })
			if err != nil {
				err = fmt.Errorf("%w, of %w", err, exit)
			}
			return wire.None{}, g.note(err)
		})
	}
	return answers
}

// guarded makes an error of a panic in a function of the caller's, which runs in a goroutine that is
// not the caller's.
func guarded(what string, f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%s panicked: %v\n%s", what, r, debug.Stack())
		}
	}()
	return f()
}

// rerun runs a command where another has failed.
func (s *Stage) rerun(ctx context.Context, held string, cmd Cmd) error {
	if len(cmd.Files) > 0 || len(cmd.Mounts) > 0 || cmd.OnError != nil || !reflect.DeepEqual(cmd.Isolation, isolation.Options{}) {
		return fmt.Errorf("%w: a command in what a failed one left has its files, mounts and isolation, and no others", ErrInvalid)
	}
	checked, err := s.runParams(cmd)
	if err != nil {
		return err
	}
	params := protocol.Rerun{
		Held: held, Args: cmd.Args, Env: append(append([]string{}, cmd.Env...), cmd.UncachedEnv...),
		User: cmd.User, Terminal: checked.Terminal,
	}
	if cmd.Dir != "" {
		params.Dir = checked.Dir
	}
	cmd.Ephemeral = true
	stdio, err := newStdio(cmd)
	if err != nil {
		return err
	}
	_, err = callWith(ctx, s.b, s, params, wire.With{Files: stdio.files})
	lost := stdio.finish(ctx, err)
	err = s.commandError(cmd.Args, err, stdio.tail.bytes())
	switch {
	case lost == nil || ctx.Err() != nil:
		return err
	case err != nil:
		return fmt.Errorf("%w (%w)", lost, err)
	}
	return lost
}

// commandError makes an ExitError of a failed command.
func (s *Stage) commandError(args []string, err error, tail []byte) error {
	var d *errdefs.ExitError
	if !errors.As(err, &d) {
		return err
	}
	return s.exitError(args, *d, tail)
}
