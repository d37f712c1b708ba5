//go:build linux

package e2e

import (
	"strings"
	"testing"
)

// remove runs a command that removes a container, until it can: what podman starts in the background when a command has
// ended may still use it.
func (h *testHome) remove(command ...string) {
	h.t.Helper()
	waitFor(h.t, patience, strings.Join(command, " "), func() string {
		_, stderr, err := h.try(command[0], command[1:]...)
		if err != nil {
			return stderr + err.Error()
		}
		return ""
	})
}

// TestReset removes a store that Podman and Buildah use too, and only while they have no
// container in it. They find an empty one afterwards.
func TestReset(t *testing.T) {
	h := newHome(t)
	h.run(oakum, "pull", "busybox")
	for _, c := range []struct{ make, remove []string }{
		{[]string{"podman", "run", "-d", "--network", "none", "--name", "running", "busybox", "sleep", "1000"}, []string{"podman", "rm", "-f", "-i", "-t", "0", "running"}},
		{[]string{"buildah", "from", "--name", "working", "busybox"}, []string{"buildah", "rm", "working"}},
	} {
		h.run(c.make[0], c.make[1:]...)
		if out, stderr, err := h.try(oakum, "system", "reset", "--force"); err == nil || !strings.Contains(stderr, "containers of Podman or Buildah") {
			t.Errorf("beside a container of %s: %v %s%s", c.make[0], err, out, stderr)
		}
		h.remove(c.remove...)
	}
	if images := h.run("podman", "images", "-q"); images == "" {
		t.Error("the image is gone too early")
	}
	h.run(oakum, "system", "reset", "--force")
	if images := h.run("podman", "images", "-q"); images != "" {
		t.Errorf("podman still sees %s", images)
	}
	if out := h.run("podman", "run", "--rm", "--network", "none", "busybox", "echo", "works"); out != "works\n" {
		t.Errorf("podman then writes %q", out)
	}
	h.run(oakum, "run", "busybox", "true")
}
