//go:build linux

package worker

import (
	"context"
	"errors"
	"time"

	"github.com/oakum-build/oakum/builder/internal/filecopy"
)

// ReadFile reads the first Max bytes of a file.
type ReadFile struct {
	Stage, Name string
	Max         int
}

func (w *worker) readFile(p ReadFile) (data []byte, err error) {
	m, err := w.look(p.Stage)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	return filecopy.ReadFile(m.root, p.Name, p.Max)
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
