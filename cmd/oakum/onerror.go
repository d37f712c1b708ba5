package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/display"
	"github.com/oakum-build/oakum/builder/terminal"
	"github.com/oakum-build/oakum/dockerfile"
)

// shellOnError is build --on-error=shell: a shell in the terminal where the first RUN fails.
type shellOnError struct {
	in, out any // the terminal, twice
	say     io.Writer
	log     *pausable

	mu     sync.Mutex
	opened bool
}

// readOnError reads --on-error; nil is without.
func readOnError(c *cli.Context, std streams) (*shellOnError, error) {
	switch how := c.String("on-error"); {
	case !c.IsSet("on-error"):
		return nil, nil
	case how != "shell":
		return nil, usagef("--on-error must be shell, not %q", how)
	case !isTerminal(std.raw.in) || !isTerminal(std.raw.err):
		return nil, usagef("--on-error=shell needs a terminal as standard input and error; run oakum in one, without redirecting them, or leave the flag out")
	}
	return &shellOnError{in: std.raw.in, out: std.raw.err, say: std.raw.err}, nil
}

// beside gives a writer for the progress, which waits while a shell is open.
func (s *shellOnError) beside(log io.Writer) io.Writer {
	s.log = &pausable{to: log}
	return s.log
}

// open opens a shell, once: what fails meanwhile waits for its end, with which the build fails.
func (s *shellOnError) open(ctx context.Context, failed dockerfile.Failed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opened || ctx.Err() != nil {
		return
	}
	s.opened = true
	s.log.pause()
	defer s.log.resume()
	s.tell("line %d, %s: %v", failed.Line, firstLine(failed.Instruction), outcomeOf(failed.Err))
	s.tell("this is %s in what the command left, with its mounts and environment; what you change is thrown away; leave it by exit", display.Line(failed.Shell[0]))
	err := s.run(ctx, failed)
	var exit *builder.ExitError
	if err != nil && ctx.Err() == nil && (!errors.As(err, &exit) || exit.Reason != "") {
		s.tell("no shell could be opened there: %v", err)
	}
}

// outcomeOf is how a command failed.
func outcomeOf(err *builder.ExitError) string {
	if err.Reason != "" {
		return err.Reason
	}
	return fmt.Sprintf("exit status %d", err.Code)
}

// run runs the shell with the terminal as its own.
func (s *shellOnError) run(ctx context.Context, failed dockerfile.Failed) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	restore, err := changeTerminal(ctx, s.in, raw)
	if err != nil {
		return err
	}
	defer restore()
	return failed.Run(ctx, builder.Cmd{
		Args: failed.Shell, Stdin: s.in.(io.Reader), Stdout: s.say,
		Terminal: &terminal.Terminal{Size: windowSize(s.out), Resized: windowSizes(ctx, s.out)},
	})
}

// tell writes a line of our own.
func (s *shellOnError) tell(format string, args ...any) {
	_, _ = io.WriteString(s.say, "on-error: "+display.Message(fmt.Sprintf(format, args...))+"\n")
}

// mostKept bounds what a pausable keeps, in bytes.
const mostKept = 1 << 20

// pausable is a writer that keeps what comes while it is paused.
type pausable struct {
	mu     sync.Mutex
	to     io.Writer
	paused bool
	kept   bytes.Buffer
	lost   bool
}

func (p *pausable) Write(data []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.paused {
		return p.to.Write(data)
	}
	if p.lost = p.lost || p.kept.Len()+len(data) > mostKept; !p.lost {
		p.kept.Write(data)
	}
	return len(data), nil
}

func (p *pausable) pause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paused = true
}

// resume writes what was kept.
func (p *pausable) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paused = false
	_, _ = p.kept.WriteTo(p.to)
	if p.lost {
		_, _ = io.WriteString(p.to, "...\n")
	}
}
