// Command oakum builds OCI images from Dockerfiles without a daemon and without
// root, and keeps them in the store that Podman and Buildah use.
//
// It holds flags, terminal output and exit codes only; what it does is done by the
// packages dockerfile and builder.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/oakum-build/oakum/builder/display"
)

//go:generate go test -run TestReference . -update

// lastMoment is how long after a signal the program ends at the latest, whatever does not
// let it, such as a reader of its output that does not read. The worker ends with it.
const lastMoment = 15 * time.Second

func main() {
	delayFirstCollection()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, func() {
		stop() // so that a second signal ends the program at once
		time.Sleep(lastMoment)
		os.Exit(exitCancelled)
	})
	os.Exit(run(ctx, os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}))
}

// streams are the three standard streams. Results go to out, all else to err.
type streams struct {
	in       io.Reader
	out, err io.Writer
	// raw is where a command's own output goes; the others are harmless to a terminal.
	raw *streams
}

// harmless keeps what oakum prints from driving a terminal. Only what a program is to read
// stays as it is.
func (s streams) harmless() streams {
	raw := s
	s.raw, s.err = &raw, display.NewWriter(s.err)
	if isTerminal(s.out) {
		s.out = display.NewWriter(s.out)
	}
	return s
}

// run carries out one command line, without the program's name, and returns the
// exit code.
func run(ctx context.Context, args []string, std streams) int {
	std = std.harmless()
	out := &keptError{to: std.out}
	std.out = out
	app := newApp(std)
	args, warnings, err := arrange(app, args)
	if err == nil {
		for _, text := range warnings {
			fmt.Fprintf(std.err, "warning: %s\n", display.Message(text))
		}
		err = app.RunContext(ctx, append([]string{app.Name}, args...))
	}
	if err == nil {
		err = out.err
	}
	return report(ctx, err, std)
}

// keptError is a writer of results that keeps its first error. What a script reads must be whole, or the exit code
// say that it is not, whether or not a command looks at each line that it writes.
type keptError struct {
	to  io.Writer
	err error
}

func (w *keptError) Write(p []byte) (int, error) {
	n, err := w.to.Write(p)
	if err != nil && w.err == nil {
		w.err = fmt.Errorf("standard output: %w", err)
	}
	return n, err
}
