//go:build linux

package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/builder/internal/worker"
	"github.com/oakum-build/oakum/storage"
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
	Terminal *Terminal
	// Hostname is the name of the machine as the command sees it; "" is the same in every
	// build.
	Hostname string
	// Files are the texts of executable files, by name, that the command finds in
	// /dev/pipes.
	Files map[string]string
	// Ephemeral throws the command's changes to the files away, and bypasses the cache.
	Ephemeral bool
}

// Terminal is a terminal (a pty) that a command has as its three standard files: what it
// writes comes to Cmd.Stdout, and Cmd.Stdin is what is typed, at whose end the terminal's
// end-of-file character is typed. Cmd.Stderr is not used. A terminal that the caller has
// itself stays as it is; who passes it on will want it in raw mode.
type Terminal struct {
	Size WindowSize // at first
	// Resized gives later sizes while the command runs; it may be nil.
	Resized <-chan WindowSize
}

// WindowSize is the size of a terminal in characters; 0 is unknown.
type WindowSize struct{ Rows, Columns uint16 }

// maxHostname is the kernel's limit, in bytes.
const maxHostname = 64

// Run runs a command in the stage, in new mount, PID, IPC and UTS namespaces, with
// Docker's default capabilities and seccomp filter. When it returns, every process
// of the command is gone. A command that fails is an *ExitError, and leaves the
// stage as it was.
//
// The command has pipes or a terminal, never a file of the caller's: these are read and
// written in this process and keep their owner, mode and flags.
func (s *Stage) Run(ctx context.Context, cmd Cmd) error {
	params, err := s.runParams(cmd)
	if err != nil {
		return err
	}
	if s.closed {
		return ErrClosed
	}
	var lost error
	do := func(out *worker.Stepped) error {
		if !cmd.Ephemeral && !s.noCache {
			// A step of the cache needs no pipes.
			lookup := params
			lookup.Lookup = true
			if err := s.b.call(ctx, "run", lookup, out, nil); err != nil || !out.Missed {
				return err
			}
			*out = worker.Stepped{}
		}
		stdio, err := newStdio(cmd)
		if err != nil {
			return err
		}
		err = s.b.call(ctx, "run", params, out, stdio.files)
		lost = stdio.finish(ctx)
		return s.commandError(cmd.Args, err, stdio.tail.bytes())
	}
	if cmd.Ephemeral {
		err = do(&worker.Stepped{})
	} else {
		err = s.step("RUN "+strings.Join(cmd.Args, " "), do)
	}
	switch {
	case lost == nil || ctx.Err() != nil:
		return err
	case err != nil:
		return fmt.Errorf("%w (%w)", lost, err)
	}
	return lost
}

// runParams checks a command and makes a call of the worker of it.
func (s *Stage) runParams(cmd Cmd) (worker.Run, error) {
	if len(cmd.Args) == 0 || cmd.Args[0] == "" {
		return worker.Run{}, fmt.Errorf("%w: a command needs arguments", ErrInvalid)
	}
	params := worker.Run{
		Stage: s.id, Args: cmd.Args, Files: cmd.Files, Hostname: cmd.Hostname, UncachedEnv: cmd.UncachedEnv, Ephemeral: cmd.Ephemeral,
		Env: append(append([]string{}, s.config.Env...), cmd.Env...),
		Dir: s.abs(cmd.Dir), User: cmd.User, I386: s.image.Architecture == "386",
	}
	if cmd.User == "" {
		params.User = s.config.User
	}
	if t := cmd.Terminal; t != nil {
		params.Terminal = &worker.Terminal{Rows: t.Size.Rows, Columns: t.Size.Columns}
	}
	for name := range cmd.Files {
		if !fs.ValidPath(name) || name == "." || strings.ContainsAny(name, "/\x00") {
			return worker.Run{}, fmt.Errorf("%w: %q is not a file's name", ErrInvalid, name)
		}
	}
	if len(cmd.Hostname) > maxHostname || strings.ContainsFunc(cmd.Hostname, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return worker.Run{}, fmt.Errorf("%w: %q is not a machine's name", ErrInvalid, cmd.Hostname)
	}
	if err := errors.Join(checkUTF8("working directory", params.Dir), checkUTF8("user", params.User)); err != nil {
		return worker.Run{}, err
	}
	texts := slices.Concat(params.Args, params.Env, params.UncachedEnv, []string{params.Dir})
	if slices.ContainsFunc(texts, func(text string) bool { return strings.ContainsRune(text, 0) }) {
		return worker.Run{}, fmt.Errorf("%w: the command or its environment has a NUL byte", ErrInvalid)
	}
	return params, nil
}

// commandError makes an ExitError of a failed command.
func (s *Stage) commandError(args []string, err error, tail []byte) error {
	var k *wire.Error
	if !errors.As(err, &k) || k.Kind != worker.KindExit {
		return err
	}
	var d worker.ExitDetail
	if jsonErr := wire.Unmarshal(k.Detail, &d); jsonErr != nil {
		return err
	}
	if is, host := s.image.platform(), storage.HostPlatform(); !is.Fits(host) && execFailed(args[0], d.Code, tail) {
		d.Code = 126
		d.Message = fmt.Sprintf("%v: the image is for %s, and this machine (%s) has no emulator for it registered (binfmt_misc)", unix.ENOEXEC, is, host)
	}
	return &ExitError{Args: args, Code: d.Code, Reason: d.Message, Output: tail}
}

// execFailed says that a command did no more than what libcontainer does in its place
// when the kernel does not know the program's format.
func execFailed(name string, code int, output []byte) bool {
	text := strings.TrimRight(string(output), "\r\n") // a terminal ends lines in both
	program := name[strings.LastIndexByte(name, '/')+1:]
	return code == 255 && !strings.Contains(text, "\n") &&
		strings.HasPrefix(text, "exec ") && strings.HasSuffix(text, program+": "+unix.ENOEXEC.Error())
}
