//go:build linux

package worker

import (
	"errors"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder/internal/sandbox"
	"github.com/oakum-build/oakum/builder/isolation"
)

// A sandbox that the program did not bring along is no reason to take another one: this one imports
// no libcontainer.
func TestSandboxes(t *testing.T) {
	t.Parallel()
	s := sandboxes{level: isolation.Full, dir: t.TempDir()}
	_, err := s.get(isolation.OCI).Run(t.Context(), sandbox.Command{})
	var host *sandbox.HostError
	if !errors.As(err, &host) || !strings.Contains(host.Fix(), "builder/oci") {
		t.Errorf("without libcontainer: %v", err)
	}
}
