//go:build linux

package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestOtherSystems uses a command that was built to do what it does on other systems than
// Linux: it checks Dockerfiles as any other does, and says of the rest why it cannot.
func TestOtherSystems(t *testing.T) {
	other := filepath.Join(checkout, "bin", "oakum-otheros")
	if _, err := os.Stat(other); err != nil {
		t.Fatalf("%v; make otheros builds it", err)
	}
	h := newHome(t)
	faulty := h.context("faulty", "FROM scratch as base\nCOPY ignored /\nENV a $b\nMAINTAINER me\nFROM base AS last\nARG v\n")
	broken := h.context("broken", "FROM scratch\nADD --checksum=no x /\n")
	h.write("faulty/.dockerignore", "ignored\n")
	h.write("faulty/ignored", "")
	link := h.context("link", "FROM scratch\n")
	within := h.context("within", "FROM scratch as base\n")
	for path, target := range map[string]string{
		filepath.Join(link, "Dockerfile"): "/etc/passwd", filepath.Join(link, ".dockerignore"): "../outside",
		filepath.Join(within, "Dockerfile"): "sub/../other",
	} {
		if err := errors.Join(os.RemoveAll(path), os.Symlink(target, path)); err != nil {
			t.Fatal(err)
		}
	}
	h.write("within/other", "FROM scratch as base\nLABEL a b\n")
	h.write("within/sub/file", "")
	for _, args := range [][]string{
		{"build", "--check", faulty}, {"build", "--check", "--target", "nothing", faulty}, {"build", "--call", "outline", faulty}, {"build", "--call", "targets", faulty},
		{"build", "--check", broken}, {"build", "--check", link}, {"build", "--check", within}, {"build", "--check", "-f", "/dev/null", within}, {"build", "--check", filepath.Join(h.dir, "nowhere")},
		{"build", "--check", filepath.Join(checkout, "examples", "multistage-go")}, {"build", "--nothing"}, {"help", "build"},
	} {
		out, stderr, err := h.try(oakum, args...)
		otherOut, otherStderr, otherErr := h.try(other, args...)
		if out != otherOut || stderr != otherStderr || exitCode(err) != exitCode(otherErr) {
			t.Errorf("%v: it says\n%s%s(%v), and on Linux\n%s%s(%v)", args, otherOut, otherStderr, otherErr, out, stderr, err)
		}
	}
	if out := h.run(other, "build", "--call", "targets", faulty); !strings.Contains(out, "last") {
		t.Errorf("the targets are\n%s", out)
	}
	_, err := os.Stat(filepath.Join(h.graph, "overlay"))
	hadStore := err == nil
	for _, args := range [][]string{
		{"build", faulty}, {"images"}, {"run", "--rm", "busybox"}, {"pull", "busybox"}, {"push", "busybox"}, {"inspect", "busybox"}, {"info"}, {"prune"}, {"rmi", "busybox"},
	} {
		_, stderr, err := h.try(other, args...)
		if exitCode(err) != 4 || !strings.Contains(stderr, "on Linux only") || !strings.Contains(stderr, "run it in a Linux machine or container") {
			t.Errorf("%v: %v\n%s", args, err, stderr)
		}
	}
	if _, err := os.Stat(filepath.Join(h.graph, "overlay")); (err == nil) != hadStore {
		t.Errorf("the store: %v, and before it was there: %t", err, hadStore)
	}
}

// exitCode is 0 without an error, and -1 for what is no exit.
func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return -1
}
