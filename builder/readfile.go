//go:build linux

package builder

import (
	"context"

	"github.com/oakum-build/oakum/builder/internal/worker"
)

// ReadFile gives the first max bytes of a regular file of the stage. Links are followed
// inside the stage. A file that is not there is an error that matches ErrNotFound.
func (s *Stage) ReadFile(ctx context.Context, name string, max int) ([]byte, error) {
	if s.closed {
		return nil, ErrClosed
	}
	var data []byte
	err := s.b.call(ctx, "readfile", worker.ReadFile{Stage: s.id, Name: name, Max: max}, &data, nil)
	return data, err
}
