//go:build linux

package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/foreign"
	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/builder/internal/input"
	"github.com/oakum-build/oakum/builder/internal/protocol"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/builder/internal/workspace"
)

func (w *worker) readFile(ctx context.Context, call *wire.Call, p protocol.ReadFile) (data []byte, err error) {
	in, err := input.Find(ctx, w.inputs(call, false, nil), p.From)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	return readHead(p, func() (*os.File, error) { return in.OpenFile(ctx, p.Name) })
}

// readHead reads the first bytes of a file.
func readHead(p protocol.ReadFile, open func() (*os.File, error)) ([]byte, error) {
	f, err := open()
	var link *foreign.LinkError
	switch {
	case errors.As(err, &link) || errors.Is(err, foreign.ErrSpecial) || errors.Is(err, unix.EISDIR):
		return nil, fmt.Errorf("%w: %w", errdefs.ErrInvalid, err)
	case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR):
		return nil, &filecopy.NotFoundError{Path: p.Name, Why: "no such file or directory"}
	case err != nil:
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, int64(p.Max)))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", p.Name, err)
	}
	return data, nil
}

func (w *worker) latestTime(ctx context.Context, call *wire.Call, p protocol.LatestTime) (latest time.Time, err error) {
	m, err := w.look(ctx, call, p.Stage)
	if err != nil {
		return latest, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	return filecopy.LatestTime(ctx, m.Root(), m.Owners())
}

// look opens a stage's files to read them.
func (w *worker) look(ctx context.Context, call *wire.Call, stage string) (workspace.View, error) {
	s, err := w.stage(stage)
	if err != nil {
		return nil, err
	}
	top, err := s.Claimed(ctx, w.reach(call))
	if err != nil {
		return nil, err
	}
	return w.spaces.View(top)
}
