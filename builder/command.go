package builder

import (
	"context"
	"slices"

	"github.com/oakum-build/oakum/builder/internal/protocol"
)

// CheckCommand says what keeps the command of the configuration (entrypoint and cmd)
// from running in the stage's present files, one sentence for each problem: a program, its
// interpreter or a shared library that is missing, or a program for another
// architecture. It starts nothing, and says nothing where it is not sure, such as about
// what volumes or a shell may bring.
func (s *Stage) CheckCommand(ctx context.Context) ([]string, error) {
	if s.closed {
		return nil, ErrClosed
	}
	p := protocol.CheckCommand{
		Stage: s.id, Args: slices.Concat(s.config.Entrypoint, s.config.Cmd), Env: s.config.Env,
		Dir: s.config.WorkingDir, Arch: s.image.Architecture,
	}
	for v := range s.config.Volumes {
		p.Volumes = append(p.Volumes, v)
	}
	slices.Sort(p.Volumes)
	if len(p.Args) == 0 || s.image.OS != "linux" {
		return nil, nil
	}
	return callFor(ctx, s, p)
}
