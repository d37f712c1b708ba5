package builder

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"

	"github.com/oakum-build/oakum/builder/internal/protocol/question"
	"github.com/oakum-build/oakum/builder/internal/sshagent"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/builder/limits"
	"github.com/oakum-build/oakum/builder/mount"
)

// granting gives a command what this process alone has: its secrets, and agents, which are
// served until it has ended. The worker asks for them when the command is about to be run.
type granting struct {
	mounts []Mount

	mu     sync.Mutex
	agents []*sshagent.Agent
	failed error // of the first that could not be given, as it was before it crossed the wire
}

// answer has s answer the worker.
func (g *granting) answer(s *wire.Server) {
	wire.Handle(s, func(ctx context.Context, call *wire.Call, q question.Grant) (wire.None, error) {
		return wire.None{}, g.note(g.grant(ctx, call, q.Mount))
	})
}

// note keeps an error, which in crossing the wire would lose its type.
func (g *granting) note(err error) error {
	if err != nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.failed = err
	}
	return err
}

// checkGrant refuses a secret or agent that cannot be had.
func (m Mount) checkGrant() error {
	switch {
	case m.Secret != nil && m.Secret.Read == nil:
		return errors.New("its Read is missing, which gives its content")
	case m.Secret != nil && strings.ContainsAny(m.Secret.Env, "=\x00"):
		return fmt.Errorf("%q is not the name of a variable", m.Secret.Env)
	case m.SSH != nil && (m.SSH.Socket == "") == (len(m.SSH.Keys) == 0):
		return errors.New("it needs the Socket of an agent or Keys, and not both")
	}
	return nil
}

func (g *granting) grant(ctx context.Context, call *wire.Call, n int) error {
	if n < 0 || n >= len(g.mounts) || len(call.Files) != 1 {
		return fmt.Errorf("%w: the command has no mount %d", ErrInvalid, n)
	}
	switch m := g.mounts[n]; {
	case m.Secret != nil:
		return writeSecret(ctx, *m.Secret, secretName(m), call.Files[0])
	case m.SSH != nil:
		return g.serve(ctx, *m.SSH, call.Files[0])
	default:
		return fmt.Errorf("%w: mount %d is none of a secret", ErrInvalid, n)
	}
}

// secretName is how errors call a secret.
func secretName(m Mount) string {
	if m.Target == "" {
		return "the secret in the variable " + m.Secret.Env
	}
	return "the secret at " + m.Target
}

func writeSecret(ctx context.Context, s mount.Secret, name string, to *os.File) error {
	var data []byte
	err := guarded("Secret.Read", func() (err error) {
		data, err = s.Read(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if len(data) > limits.MaxSecret {
		return &limits.LimitError{Name: name, Limit: limits.MaxSecret, Unit: "bytes"}
	}
	if _, err = to.Write(data); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// serve serves an agent on a socket that listens.
func (g *granting) serve(ctx context.Context, s mount.SSH, socket *os.File) error {
	var agent *sshagent.Agent
	var err error
	if s.Socket != "" {
		agent, err = sshagent.OfSocket(ctx, s.Socket)
	} else {
		agent, err = sshagent.OfKeys(s.Keys)
	}
	if err != nil {
		return err
	}
	listener, err := net.FileListener(socket)
	if err != nil {
		return fmt.Errorf("the socket of the ssh agent: %w", err)
	}
	agent.Serve(listener)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.agents = append(g.agents, agent)
	return nil
}

// end ends the agents, once the command has ended, and gives the error with which it could not
// be run, if that was here.
func (g *granting) end() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, agent := range g.agents {
		agent.Close()
	}
	g.agents = nil
	return g.failed
}
