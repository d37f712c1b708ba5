//go:build linux

package e2e

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestBaseRemovedByPeers removes the base of a running build with Podman and Buildah, by
// every way there is: the build goes on with the base's files, and they are gone
// with the images.
func TestBaseRemovedByPeers(t *testing.T) {
	h := newHome(t)
	mark := newMark()
	dir := h.context("build", "FROM busybox AS other\nRUN echo other > /other\n"+
		"FROM busybox\nRUN --mount=type=bind,from=other,target=/mnt sleep "+mark+"; ls /bin/busybox && echo whole\nCOPY --from=other /other /bin/sh /\nRUN cat /other\n")
	for _, args := range [][]string{
		{"podman", "image", "prune", "-af"}, {"podman", "rmi", "-f", "busybox"}, {"podman", "system", "prune", "-af"},
		{"buildah", "rmi", "-f", "busybox"}, {"buildah", "rmi", "-a"},
	} {
		type result struct {
			output string
			err    error
		}
		built := make(chan result)
		go func() {
			stdout, stderr, err := h.try(oakum, "build", "--no-cache", "-t", "app", dir)
			built <- result{stdout + stderr, err}
		}()
		var sleeper []int
		waitFor(t, patience, "the build is in the middle of its RUN", func() string {
			if sleeper = sleeping(t, mark); len(sleeper) == 0 {
				return "nothing sleeps"
			}
			return ""
		})
		if out, _, err := h.try(oakum, "rmi", "busybox"); err == nil {
			t.Errorf("oakum removed the base of a running build: %s", out)
		}
		if stdout, stderr, err := h.try(args[0], args[1:]...); err != nil {
			t.Errorf("%v: %v\n%s%s", args, err, stdout, stderr)
		}
		if err := syscall.Kill(sleeper[0], syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		// Should the build begin anew, as one does whose base was gone before a stage came to it, so does the command. The
		// mount sees to it that both stages have come to it.
		var r result
		for waits := true; waits; {
			select {
			case r = <-built:
				waits = false
			case <-time.After(100 * time.Millisecond):
				for _, pid := range sleeping(t, mark) {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
			}
		}
		if r.err != nil || !strings.Contains(r.output, "whole") {
			t.Errorf("the build beside %v: %v\n%s", args, r.err, r.output)
		}
		if out := h.run(oakum, "images"); strings.Contains(out, "busybox") {
			t.Fatalf("%v did not remove the base, and so shows nothing: %s", args, out)
		}
		h.run(oakum, "rmi", "app")
		h.run(oakum, "prune")
		if out := h.run(oakum, "info"); !strings.Contains(strings.Join(strings.Fields(out), " "), "layers: 0") {
			t.Errorf("left after %v:\n%s", args, out)
		}
	}
}

// TestRemoveImageOfContainer keeps its hands from an image of which Podman or Buildah
// have a container, running or not.
func TestRemoveImageOfContainer(t *testing.T) {
	h := newHome(t)
	h.run(oakum, "pull", "busybox")
	for _, c := range []struct{ make, remove []string }{
		{[]string{"podman", "create", "--name", "stopped", "busybox"}, []string{"podman", "rm", "-f", "-i", "stopped"}},
		{[]string{"podman", "run", "-d", "--network", "none", "--name", "running", "busybox", "sleep", "1000"}, []string{"podman", "rm", "-f", "-i", "-t", "0", "running"}},
		{[]string{"buildah", "from", "--name", "working", "busybox"}, []string{"buildah", "rm", "working"}},
	} {
		h.run(c.make[0], c.make[1:]...)
		name := c.remove[len(c.remove)-1]
		for _, args := range [][]string{{"rmi", "busybox"}, {"rmi", "-f", "busybox"}} {
			if _, stderr, err := h.try(oakum, args...); err == nil || !strings.Contains(stderr, name) {
				t.Errorf("oakum %v beside the container %s: %v, %s", args, name, err, stderr)
			}
		}
		h.remove(c.remove...)
	}
	h.run(oakum, "rmi", "busybox")
}
