package builder

import (
	"context"
	"path/filepath"
	"time"

	"github.com/oakum-build/oakum/builder/internal/input"
	"github.com/oakum-build/oakum/builder/internal/protocol"
)

// ReadFile gives the first max bytes of a regular file of the stage. Links are followed
// inside the stage; one that leads nowhere is an error that matches ErrInvalid. A file that
// is not there is an error that matches ErrNotFound.
func (s *Stage) ReadFile(ctx context.Context, name string, max int) ([]byte, error) {
	if s.closed {
		return nil, ErrClosed
	}
	return callFor(ctx, s, protocol.ReadFile{From: input.Source{Stage: s.id}, Name: name, Max: max})
}

// ReadFile gives the first max bytes of a regular file of a directory of this machine, with
// the rights by which Copy reads it: also those of the user's files that the user may not
// read. Links are followed inside the directory; one that leads out of it is an error that
// matches ErrInvalid, and a file that is not there one that matches ErrNotFound.
func (b *Builder) ReadFile(ctx context.Context, dir, name string, max int) ([]byte, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	return call(ctx, b, protocol.ReadFile{From: input.Source{Dir: dir}, Name: name, Max: max})
}

// LatestTime is when the regular file of the stage that changed last did so; the zero
// time when there is none.
func (s *Stage) LatestTime(ctx context.Context) (time.Time, error) {
	if s.closed {
		return time.Time{}, ErrClosed
	}
	return callFor(ctx, s, protocol.LatestTime{Stage: s.id})
}
