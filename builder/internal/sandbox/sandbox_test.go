//go:build linux

package sandbox

import (
	"errors"
	"testing"
)

// Who has no sandbox is told why, and what to do.
func TestNone(t *testing.T) {
	t.Parallel()
	var s Sandbox = None{Why: HostError{Missing: "no cgo", Remedy: "build with it"}}
	_, err := s.Run(t.Context(), Command{})
	_, isolationErr := s.Isolation()
	for _, err := range []error{err, isolationErr} {
		var host *HostError
		if !errors.As(err, &host) || err.Error() != "no cgo" || host.Fix() != "build with it" {
			t.Errorf("got %v", err)
		}
	}
	if points := s.MountPoints(Command{}); len(points) > 0 {
		t.Errorf("mount points %q", points)
	}
}
