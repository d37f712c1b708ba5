//go:build linux

package worker

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/protocol"
	"github.com/oakum-build/oakum/builder/internal/protocol/question"
	"github.com/oakum-build/oakum/builder/internal/sandbox"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/builder/internal/workspace"
)

// held is what a failed command left, while its caller looks at it.
type held struct {
	ctx     context.Context // ends when the caller has seen enough
	ws      workspace.Workspace
	command sandbox.Command
	run     func(context.Context, sandbox.Command) error
	groups  []string // of isolation.Options
	running sync.WaitGroup
}

// failed has the caller look at what a command left that failed with exit, its mounts and
// environment too, and gives that as the error.
func (w *worker) failed(ctx context.Context, call *wire.Call, p protocol.Run, h *held, exit *errdefs.ExitError) error {
	for i := range p.StdioFiles() { // at whose end the caller sees that all output is there
		call.Files[i].Close()
		call.Files[i] = nil
	}
	inner, cancel := context.WithCancel(ctx)
	h.ctx = inner
	id := strconv.Itoa(w.next())
	w.mu.Lock()
	w.held[id] = h
	w.mu.Unlock()
	_, err := wire.Ask(ctx, call, question.Failed{Held: id, Exit: *exit})
	w.mu.Lock()
	delete(w.held, id)
	w.mu.Unlock()
	cancel()
	h.running.Wait()
	if err != nil {
		return fmt.Errorf("%w (%w)", exit, err)
	}
	return exit
}

// enter gives what is held by an id, which stays until it is left again.
func (w *worker) enter(id string) (*held, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	h := w.held[id]
	if h == nil {
		return nil, fmt.Errorf("%w: the files of the failed command are gone: commands run there only until Cmd.OnError has returned", errdefs.ErrInvalid)
	}
	h.running.Add(1)
	return h, nil
}

// rerun runs a command where another has failed.
func (w *worker) rerun(ctx context.Context, call *wire.Call, p protocol.Rerun) (wire.None, error) {
	h, err := w.enter(p.Held)
	if err != nil {
		return wire.None{}, err
	}
	defer h.running.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(h.ctx, cancel)()
	command, err := h.again(call, p)
	if err != nil {
		return wire.None{}, err
	}
	return wire.None{}, h.run(ctx, command)
}

// again is the failed command with another process.
func (h *held) again(call *wire.Call, p protocol.Rerun) (sandbox.Command, error) {
	c := h.command
	c.Process.Args = p.Args
	c.Process.Env = overridden(c.Process.Env, p.Env)
	if p.Dir != "" {
		c.Process.Dir = p.Dir
	}
	if p.User != "" {
		u, err := user(h.ws.Root(), p.User, h.groups)
		if err != nil {
			return c, err
		}
		c.Process.User = u
	}
	if p.Terminal != nil {
		c.Process.Env = withDefault(c.Process.Env, "TERM", defaultTerm)
	}
	var err error
	c.Stdio, err = stdio(call, p.Terminal)
	return c, err
}
