//go:build linux

package worker

import (
	"errors"

	"github.com/oakum-build/oakum/builder/internal/filecopy"
)

// ReadFile reads the first Max bytes of a file.
type ReadFile struct {
	Stage, Name string
	Max         int
}

func (w *worker) readFile(p ReadFile) (data []byte, err error) {
	s, err := w.stage(p.Stage)
	if err != nil {
		return nil, err
	}
	m, err := w.mount(s.top(), nil, false)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	return filecopy.ReadFile(m.root, p.Name, p.Max)
}
