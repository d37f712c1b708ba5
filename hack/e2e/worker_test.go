//go:build linux

package e2e

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/hack/badinit"
)

// TestCommandAsWorker is a program whose init functions must not run a second time: it builds
// with the command oakum as its worker, whatever that was built with.
func TestCommandAsWorker(t *testing.T) {
	t.Setenv(badinit.Env, badinit.Exits)
	h := newHome(t)
	h.run(oakum, "pull", "busybox")
	for _, program := range []string{"", oakum, static(runtime.GOARCH)} {
		out, err := buildWith(t, program, h.graph)
		switch {
		case program == "" && (!errors.As(err, new(*builder.HostError)) || !strings.Contains(err.Error(), "badinit")):
			t.Errorf("this program as the worker: %v", err)
		case program != "" && (err != nil || out != "copied\n"):
			t.Errorf("%s: %v, %q", program, err, out)
		}
	}
}

// buildWith copies a file into an image and shows it by a command there.
func buildWith(t *testing.T, program, root string) (string, error) {
	ctx := t.Context()
	b, err := builder.Open(ctx, builder.Options{Root: root, RunRoot: filepath.Join(t.TempDir(), "run"), Worker: program})
	if err != nil {
		return "", err
	}
	defer b.Close()
	s, err := b.Stage(ctx, "busybox", builder.StageOptions{Pull: "never"})
	if err != nil {
		return "", err
	}
	if _, err := s.Copy(ctx, "/", builder.FS(os.DirFS("testdata/worker"))); err != nil {
		return "", err
	}
	var out bytes.Buffer
	_, err = s.Run(ctx, builder.Cmd{Args: []string{"cat", "/file"}, Stdout: &out, Ephemeral: true})
	return out.String(), err
}
