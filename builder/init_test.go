//go:build linux

package builder_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/internal/sandbox/sandboxtest"
	"github.com/oakum-build/oakum/hack/badinit"
)

// An init function of the program runs in the worker too: one that ends or stops it is shown
// with its words, and one that only writes does no harm.
func TestInitOfProgram(t *testing.T) {
	for kind, want := range map[string]string{
		badinit.Exits:  "the worker ended before it was ready (exit status 3); it wrote:\nbadinit: CONFIG_FILE is not set",
		badinit.Panics: "the worker ended before it was ready (exit status 2); it wrote:\npanic: badinit: no reason",
	} {
		t.Setenv(badinit.Env, kind)
		b, err := builder.Open(t.Context(), builder.Options{Root: tempDir(t)})
		var host *builder.HostError
		if b != nil || !errors.As(err, &host) || !strings.HasPrefix(host.Missing, want) || !strings.Contains(host.Fix, "builder.Options.Worker") {
			t.Errorf("%s: %v", kind, err)
		}
	}

	t.Setenv(badinit.Env, badinit.Hangs)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	before := len(children(t, os.Getpid()))
	_, err := builder.Open(ctx, builder.Options{Root: tempDir(t), Logger: slog.New(logFunc(func(string) { cancel() }))})
	is(t, err, context.Canceled)
	if !strings.HasSuffix(err.Error(), "badinit: connecting") {
		t.Errorf("it is not said what the worker wrote: %v", err)
	}
	if after := len(children(t, os.Getpid())); after != before {
		t.Errorf("%d processes more than before", after-before)
	}

	t.Setenv(badinit.Env, badinit.Prints)
	said := make(chan string, 100)
	b := openIn(t, builder.Options{Root: tempDir(t), Logger: slog.New(logFunc(func(text string) { said <- text }))})
	run(t, base(t, b), "true")
	equal(t, <-said, "badinit: hello")
}

// A worker that does not come to read its sockets dies with the program all the same.
func TestKillWhileStarting(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	ok(t, err)
	program := exec.Command(exe)
	program.Env = append(os.Environ(), roleEnv+"=hang")
	start(t, program)
	var workers []int
	eventually(t, "a worker starts", func() bool {
		workers = workersOf(t, program.Process.Pid)
		return len(workers) > 0
	})
	ok(t, program.Process.Kill())
	_ = program.Wait()
	for _, pid := range workers {
		eventually(t, "the worker is gone", func() bool { return unix.Kill(pid, 0) == unix.ESRCH })
	}
}

// Another program is a worker when it links the package in the same version.
func TestOtherPrograms(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script := filepath.Join(dir, "script")
	ok(t, sandboxtest.WriteProgram(script, []byte("#!/bin/sh\nprintf Rnewer >&3\nexec sleep 1000\n")))
	for program, want := range map[string]string{
		"/bin/true": "/bin/true may be none", script: `speaks version "newer" of their protocol, this program version `,
		filepath.Join(dir, "missing"): "missing: no such file or directory", dir: "cannot be started",
	} {
		b, err := builder.Open(t.Context(), builder.Options{Root: tempDir(t), Worker: program})
		if !errors.As(err, new(*builder.HostError)) {
			t.Errorf("got %v", err)
		}
		if b != nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "to mend it") {
			t.Errorf("%s: %v", program, err)
		}
	}
}
