//go:build linux

package sandboxtest

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder/internal/cgroup"
	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/sandbox"
	"github.com/oakum-build/oakum/builder/isolation"
)

// testCgroup: the command's first process is in the group before it executes anything, and so are all
// that it starts. Where this test may make no group, what would be written to it is looked at.
func testCgroup(t *testing.T, p *place, _ sandbox.Isolation) {
	c := p.command("/bin/sh", "-c", "(busybox grep '^0:' /proc/self/cgroup)")
	g, err := cgroup.Make(isolation.Limits{})
	var host *errdefs.HostError
	if errors.As(err, &host) {
		name := filepath.Join(filepath.Dir(p.root), "cgroup.procs")
		c.Cgroup, err = os.Create(name)
		ok(t, err)
		defer c.Cgroup.Close()
		p.output(t, c)
		if written, err := os.ReadFile(name); err != nil || !regexp.MustCompile(`^[0-9]+$`).Match(written) {
			t.Errorf("to the group was written %q, %v", written, err)
		}
		return
	}
	ok(t, err)
	c.Cgroup = g.Procs
	if out := p.output(t, c); !strings.Contains(out, "/oakum-run-") {
		t.Errorf("the command is in %q", out)
	}
	ok(t, g.Close())
}
