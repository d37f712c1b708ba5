//go:build linux

package e2e

import (
	"strings"
	"testing"
)

// TestReset removes a store that Podman and Buildah use too, and only while they have no
// container in it. They find an empty one afterwards.
func TestReset(t *testing.T) {
	h := newHome(t)
	h.run(oakum, "pull", "busybox")
	for _, c := range []struct{ make, remove []string }{
		{[]string{"podman", "run", "-d", "--rm", "--network", "none", "--name", "running", "busybox", "sleep", "1000"}, []string{"podman", "rm", "-f", "-t", "0", "running"}},
		{[]string{"buildah", "from", "--name", "working", "busybox"}, []string{"buildah", "rm", "working"}},
	} {
		h.run(c.make[0], c.make[1:]...)
		if out, stderr, err := h.try(oakum, "system", "reset", "--force"); err == nil || !strings.Contains(stderr, "containers of Podman or Buildah") {
			t.Errorf("beside a container of %s: %v %s%s", c.make[0], err, out, stderr)
		}
		h.run(c.remove[0], c.remove[1:]...)
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
