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
	"github.com/oakum-build/oakum/builder/internal/filecopy"
)

// ReadFile reads the first Max bytes of a file of a stage, or of a directory of this
// machine.
type ReadFile struct {
	Stage, Dir, Name string
	Max              int
}

func (w *worker) readFile(p ReadFile) (data []byte, err error) {
	if p.Dir != "" {
		root, err := foreign.OpenDir(p.Dir)
		if err != nil {
			return nil, err
		}
		defer root.Close()
		return readHead(p, func() (*os.File, error) { return foreign.OpenBeneath(root, p.Name) })
	}
	m, err := w.look(p.Stage)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	return readHead(p, func() (*os.File, error) { return foreign.Open(m.root, p.Name) })
}

// readHead reads the first bytes of a file.
func readHead(p ReadFile, open func() (*os.File, error)) ([]byte, error) {
	f, err := open()
	var link *foreign.LinkError
	switch {
	case errors.As(err, &link) || errors.Is(err, foreign.ErrSpecial) || errors.Is(err, unix.EISDIR):
		return nil, fmt.Errorf("%w: %w", errInvalid, err)
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

func (w *worker) latestTime(ctx context.Context, stage string) (latest time.Time, err error) {
	m, err := w.look(stage)
	if err != nil {
		return latest, err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	return filecopy.LatestTime(ctx, m.root)
}

// look mounts a stage's files to read them.
func (w *worker) look(stage string) (*mounted, error) {
	s, err := w.stage(stage)
	if err != nil {
		return nil, err
	}
	top, err := s.claimed()
	if err != nil {
		return nil, err
	}
	return w.mount(top, nil, false)
}
