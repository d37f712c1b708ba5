package builder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/protocol"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/builder/isolation"
	"github.com/oakum-build/oakum/builder/terminal"
	"github.com/oakum-build/oakum/storage/platform"
)

// Cmd is a command to run in a stage; its fields are those of os/exec.Cmd.
type Cmd struct {
	// Args is the command and its arguments. A name without a slash is searched in
	// the PATH of the command's environment, inside the stage.
	Args []string
	// Env is added to the configuration's environment and is part of the cache key.
	Env []string
	// UncachedEnv is added too but is left out of the cache key (proxy settings).
	UncachedEnv []string
	// Dir is the working directory; "" is the configuration's, else /.
	Dir string
	// User is user[:group] by name or number; "" is the configuration's, else root.
	User string
	// Stdin is the standard input; nil is empty. What is left of a regular file can be
	// read on from where the command stopped; of other readers more may have been read
	// than the command has used, and one that is no *os.File is read once more after Run.
	Stdin io.Reader
	// Stdout and Stderr receive the output; nil discards it. When both are the same, or
	// the same file, what is written keeps its order. One that fails is an error of Run,
	// whose step is done all the same; an ephemeral command has a closed pipe then, as in
	// a shell.
	Stdout, Stderr io.Writer
	// Terminal gives the command a terminal of its own in place of pipes; nil gives pipes.
	Terminal *terminal.Terminal
	// Files are the texts of executable files, by name, that the command finds in
	// /dev/pipes.
	Files map[string]string
	// Mounts are what the command sees over paths of the stage. They leave no trace in the layer.
	Mounts []Mount
	// Isolation is how the command is kept apart from the machine.
	Isolation isolation.Options
	// Ephemeral throws the command's changes to the files away, and bypasses the cache. The
	// history does not tell of it.
	Ephemeral bool
	// History is what the image's history shows for the step; "" is RUN and the arguments.
	History string
	// OnError is called when the command has failed, before Run returns, while its files, mounts and
	// environment are still there. By run it runs further commands in just these, as often as
	// it likes, also with a Terminal. They take Args, Dir and User, where "" is the failed
	// command's, Env, which is added, and the standard files; what they change goes with the failed
	// step. OnError must return when ctx ends, as it does with Run's and when the worker is gone, and
	// must not close the Builder.
	OnError func(ctx context.Context, failed *ExitError, run func(context.Context, Cmd) error)
}

// Run runs a command in the stage, in new mount, PID, IPC and UTS namespaces, a network namespace
// that no other command has at the same time (isolation.Network), with Docker's default
// capabilities and seccomp filter. When it returns, every process
// of the command is gone. A command that fails is an *ExitError, and leaves the
// stage as it was. A command whose step is found in the cache is not run: see Step.Cached.
// With an error of Cmd's reader or writers the Step tells what was done all the same.
//
// The command has pipes or a terminal, never a file of the caller's: these are read and
// written in this process and keep their owner, mode and flags.
func (s *Stage) Run(ctx context.Context, cmd Cmd) (Step, error) {
	params, err := s.runParams(cmd)
	if err != nil {
		return Step{}, err
	}
	if s.closed {
		return Step{}, ErrClosed
	}
	streams := &streams{after: params.StdioFiles()}
	defer streams.close()
	if params.Mounts, err = streams.mounts(s.b, params.Dir, cmd.Mounts); err != nil {
		return Step{}, err
	}
	defer context.AfterFunc(ctx, streams.abort)()
	var lost error
	do := func() (out protocol.Stepped, err error) {
		if !cmd.Ephemeral && !s.noCache && !changing(params.Mounts) {
			// A step of the cache needs no pipes.
			lookup := params
			lookup.Lookup = true
			if out, err := callFor(ctx, s, lookup); err != nil || !out.Missed {
				return out, err
			}
		}
		stepAside(cmd.Isolation.Limits)
		out, lost, err = s.runNow(ctx, cmd, params, streams)
		return out, err
	}
	var step Step
	if cmd.Ephemeral {
		start := time.Now()
		if _, err = do(); err == nil {
			step.Duration = time.Since(start)
		}
	} else {
		step, err = s.step(ctx, cmp.Or(cmd.History, "RUN "+strings.Join(cmd.Args, " ")), do)
	}
	switch {
	case lost == nil || ctx.Err() != nil:
		return step, err
	case err != nil:
		return step, fmt.Errorf("%w (%w)", lost, err)
	}
	return step, lost
}

// runNow has a command run whose step was not found. lost is the first error of its reader and
// writers.
func (s *Stage) runNow(ctx context.Context, cmd Cmd, params protocol.Run, streams *streams) (out protocol.Stepped, lost, err error) {
	stdio, err := newStdio(cmd)
	if err != nil {
		return out, nil, err
	}
	g := &granting{mounts: cmd.Mounts}
	out, err = callWith(ctx, s.b, s, params, wire.With{Files: slices.Concat(stdio.files, streams.files()), Answers: s.answers(cmd, stdio, g)})
	refused := g.end()
	lost = stdio.finish(ctx, err)
	switch writeErr := streams.wait(ctx); {
	case writeErr != nil:
		return out, lost, writeErr
	case err != nil && refused != nil && ctx.Err() == nil:
		return out, lost, refused
	}
	return out, lost, s.commandError(cmd.Args, err, stdio.tail.bytes())
}

// runParams checks a command and makes a call of the worker of it.
func (s *Stage) runParams(cmd Cmd) (protocol.Run, error) {
	if len(cmd.Args) == 0 || cmd.Args[0] == "" {
		return protocol.Run{}, fmt.Errorf("%w: a command needs arguments", ErrInvalid)
	}
	params := protocol.Run{
		Stage: s.id, Args: cmd.Args, Files: cmd.Files, Isolation: cmd.Isolation, UncachedEnv: cmd.UncachedEnv, Ephemeral: cmd.Ephemeral,
		Env: append(append([]string{}, s.config.Env...), cmd.Env...),
		Dir: s.abs(cmd.Dir), User: cmd.User, Arch: s.image.Architecture,
	}
	if cmd.User == "" {
		params.User = s.config.User
	}
	params.OnError = cmd.OnError != nil
	if t := cmd.Terminal; t != nil {
		params.Terminal = &protocol.Terminal{Rows: t.Size.Rows, Columns: t.Size.Columns}
	}
	for name := range cmd.Files {
		if !fs.ValidPath(name) || name == "." || strings.ContainsAny(name, "/\x00") {
			return protocol.Run{}, fmt.Errorf("%w: %q is not a file's name", ErrInvalid, name)
		}
	}
	if err := cmd.Isolation.Check(); err != nil {
		return protocol.Run{}, err
	}
	if err := errors.Join(checkUTF8("working directory", params.Dir), checkUTF8("user", params.User)); err != nil {
		return protocol.Run{}, err
	}
	texts := slices.Concat(params.Args, params.Env, params.UncachedEnv, []string{params.Dir})
	if slices.ContainsFunc(texts, func(text string) bool { return strings.ContainsRune(text, 0) }) {
		return protocol.Run{}, fmt.Errorf("%w: the command or its environment has a NUL byte", ErrInvalid)
	}
	return params, nil
}

// exitError is the error of a command that has failed.
func (s *Stage) exitError(args []string, d errdefs.ExitError, tail []byte) *ExitError {
	if is, host := s.image.platform(), platform.Host(); !is.Fits(host) && (execFailed(args[0], d.Code, tail) || strings.Contains(d.Reason, unix.ENOEXEC.Error())) {
		d.Code = 126
		d.Reason = fmt.Sprintf("%v: the image is for %s, not for this machine (%s)", unix.ENOEXEC, is, host)
		if d.Emulator != "" {
			d.Reason += ": " + d.Emulator
		}
	}
	return &ExitError{Args: args, Code: d.Code, Reason: d.Reason, Output: tail}
}

// execFailed says that a command did no more than what libcontainer does in its place
// when the kernel does not know the program's format.
func execFailed(name string, code int, output []byte) bool {
	text := strings.TrimRight(string(output), "\r\n") // a terminal ends lines in both
	program := name[strings.LastIndexByte(name, '/')+1:]
	return code == 255 && !strings.Contains(text, "\n") &&
		strings.HasPrefix(text, "exec ") && strings.HasSuffix(text, program+": "+unix.ENOEXEC.Error())
}
