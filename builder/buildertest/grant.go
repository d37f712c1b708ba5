package buildertest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/protocol"
	"github.com/oakum-build/oakum/builder/internal/protocol/question"
	"github.com/oakum-build/oakum/builder/internal/wire"
)

// held is what a failed command left, while its caller looks at it.
type held struct {
	cmd   builder.Cmd
	files Files
}

// grant has the caller give the secrets of a command.
func grant(ctx context.Context, call *wire.Call, mounts []Mount, cmd *builder.Cmd, files *Files) error {
	for i, m := range mounts {
		if m.Secret == nil {
			continue
		}
		data, err := secret(ctx, call, i)
		if err != nil {
			return err
		}
		if m.Secret.Env != "" {
			cmd.Env = append(slices.Clone(cmd.Env), m.Secret.Env+"="+string(data))
		}
		if m.Target == "" {
			continue
		}
		at, err := files.tree.resolve(m.Target, true)
		if err != nil {
			return err
		}
		if files.secrets == nil {
			files.secrets = map[string][]byte{}
		}
		files.secrets[at] = data
	}
	return nil
}

// secret asks for the secret of a mount.
func secret(ctx context.Context, call *wire.Call, n int) ([]byte, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	asked := make(chan error, 1)
	go func() {
		defer w.Close()
		_, err := wire.Ask(ctx, call, question.Grant{Mount: n}, w)
		asked <- err
	}()
	data, err := io.ReadAll(r)
	return data, errors.Join(err, <-asked)
}

// exec has the test's function run a command.
func (s *server) exec(ctx context.Context, call *wire.Call, cmd builder.Cmd, files Files) error {
	if len(call.Files) < 3 {
		return fmt.Errorf("%w: there are no terminals here", errors.ErrUnsupported)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = io.Reader(call.Files[0]), io.Writer(call.Files[1]), io.Writer(call.Files[2])
	code, err := s.opts.Run(ctx, cmd, files)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, fs.ErrNotExist):
		return &errdefs.ExitError{Code: 127, Reason: err.Error()}
	case err != nil:
		return &errdefs.ExitError{Code: 126, Reason: err.Error()}
	case code != 0:
		return &errdefs.ExitError{Code: code}
	}
	return nil
}

// failed has the caller look at what a failed command left.
func (s *server) failed(ctx context.Context, call *wire.Call, h *held, exit *errdefs.ExitError) error {
	for i := range 3 {
		call.Files[i].Close()
		call.Files[i] = nil
	}
	s.mu.Lock()
	s.serial++
	id := strconv.Itoa(s.serial)
	s.held[id] = h
	s.mu.Unlock()
	_, err := wire.Ask(ctx, call, question.Failed{Held: id, Exit: *exit})
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.held, id)
	if err != nil {
		return fmt.Errorf("%w (%w)", exit, err)
	}
	return exit
}

// rerun runs a command where another has failed.
func (s *server) rerun(ctx context.Context, call *wire.Call, q protocol.Rerun) (wire.None, error) {
	s.mu.Lock()
	h := s.held[q.Held]
	s.mu.Unlock()
	if h == nil {
		return wire.None{}, fmt.Errorf("%w: the files of the failed command are gone", errdefs.ErrInvalid)
	}
	cmd := h.cmd
	cmd.Args, cmd.Env = q.Args, append(slices.Clone(cmd.Env), q.Env...)
	cmd.Dir, cmd.User = cmp.Or(q.Dir, cmd.Dir), cmp.Or(q.User, cmd.User)
	return wire.None{}, s.exec(ctx, call, cmd, h.files)
}
