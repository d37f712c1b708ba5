//go:build linux

package builder_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/isolation"
	"github.com/oakum-build/oakum/builder/mount"
	"github.com/oakum-build/oakum/builder/terminal"
)

type runFunc = func(context.Context, builder.Cmd) error

// shell is a script for run.
func shell(out *bytes.Buffer, script string) builder.Cmd {
	return builder.Cmd{Args: []string{"/bin/sh", "-c", script}, Stdout: out, Stderr: out}
}

// What a failed command left is there for further ones, and goes with them.
func TestOnError(t *testing.T) {
	t.Parallel()
	for _, sandbox := range sandboxes() {
		t.Run(string(sandbox), func(t *testing.T) { testOnError(t, sandbox) })
	}
}

func testOnError(t *testing.T, sandbox isolation.Sandbox) {
	b := open(t)
	s := base(t, b)
	run(t, s, "echo below >/below; chown app /home/app")
	s.Configure("", func(c *builder.Config) { c.Env = []string{"OF=config"} })
	var out, before, first, second, user, typed bytes.Buffer
	calls := 0
	cmd := builder.Cmd{
		Args: []string{"/bin/sh", "-c", "echo said; echo why >&2; echo left >left; cat /s >>left; sleep 100 & exit 3"}, Dir: "/home/app", User: "app",
		Env: []string{"OF=command", "PLAIN=1"}, UncachedEnv: []string{"PROXY=p"}, Files: map[string]string{"f": "echo script"},
		Mounts: []builder.Mount{
			{Target: "/s", Secret: &mount.Secret{Read: secretOf("token\n"), Env: "SECRET", UID: 1000}}, {Target: "/files", From: builder.Bytes("f", []byte("f"))},
		},
		Stdout: &out, Stderr: &out, Isolation: isolation.Options{Sandbox: sandbox},
	}
	cmd.OnError = func(ctx context.Context, failed *builder.ExitError, run runFunc) {
		calls++
		before.Write(out.Bytes())
		if failed.Code != 3 || string(failed.Output) != "said\nwhy\n" || failed.Args[0] != "/bin/sh" {
			t.Errorf("failed is %+v", failed)
		}
		ok(t, run(ctx, shell(&first, `pwd; id -un; cat left /below /s /dev/pipes/f; echo $OF $PLAIN $PROXY $SECRET; grep -c f /files; ps | grep -c '[s]leep'; echo more >more; echo no >/below; true`)))
		exits(t, run(ctx, shell(&second, "cat more; exit 4")), 4)
		exits(t, run(ctx, builder.Cmd{Args: []string{"/none"}}), 127)
		as := shell(&user, "pwd; id -un; echo $OF $MORE; echo root >/below; cat /below; tty")
		as.Dir, as.User, as.Env, as.Stdin = "/tmp", "root", []string{"MORE=2", "OF=again"}, strings.NewReader("")
		exits(t, run(ctx, as), 1)
		term := shell(&typed, "tty; echo $TERM; read line; echo got $line; stty size")
		term.Terminal, term.Stdin = &terminal.Terminal{Size: terminal.Size{Rows: 30, Columns: 90}}, strings.NewReader("typed\n")
		ok(t, run(ctx, term))
	}
	e := exits(t, errOf(s.Run(t.Context(), cmd)), 3)
	equal(t, string(e.Output), "said\nwhy\n")
	if calls != 1 {
		t.Errorf("it was called %d times", calls)
	}
	equal(t, before.String(), "said\nwhy\n")
	equal(t, first.String(), "/home/app\napp\nleft\ntoken\nbelow\ntoken\necho scriptcommand 1 p token\n1\n0\n/bin/sh: can't create /below: Permission denied\n")
	equal(t, second.String(), "more\n")
	equal(t, user.String(), "/tmp\nroot\nagain 2\nroot\nnot a tty\n")
	lines := strings.Fields(strings.ReplaceAll(typed.String(), "typed", "")) // its echo comes at any time, also before another word
	tty := "/dev/pts/0"
	if inChroot { // where it has no name
		tty = "not a tty"
	}
	equal(t, strings.Join(lines, " "), tty+" xterm got 30 90")
	equal(t, sh(t, s, "cat /below; ls /home/app /s /files 2>/dev/null; true"), "below\n/home/app:\n")
}

// It is called for a command of either kind that fails, and for no other.
func TestOnErrorIsCalled(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	for _, test := range []struct {
		name      string
		args      []string
		ephemeral bool
		want      int
	}{
		{"succeeds", []string{"true"}, false, 0},
		{"is found", []string{"true"}, false, 0},
		{"fails", []string{"false"}, false, 1},
		{"is not there", []string{"/none"}, false, 127},
		{"may not be executed", []string{"/etc/passwd"}, false, 126},
		{"ephemeral, succeeds", []string{"true"}, true, 0},
		{"ephemeral, fails", []string{"false"}, true, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			code := 0
			_, err := fork(t, s).Run(t.Context(), builder.Cmd{Args: test.args, Ephemeral: test.ephemeral, OnError: func(ctx context.Context, failed *builder.ExitError, run runFunc) {
				code = failed.Code
				ok(t, run(ctx, builder.Cmd{Args: []string{"true"}}))
			}})
			if code != test.want || (err == nil) != (test.want == 0) {
				t.Errorf("status %d, %v", code, err)
			}
		})
	}
	_, err := s.Run(t.Context(), builder.Cmd{Args: []string{"true"}, User: "nobody-here", OnError: func(context.Context, *builder.ExitError, runFunc) {
		t.Error("called for a command that was not run")
	}})
	is(t, err, builder.ErrUserNotFound)
}

// What cannot be done there is an error, and nothing can once it has returned: what still runs ends.
func TestOnErrorEnds(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	var late runFunc
	var out bytes.Buffer
	ended := make(chan error, 1)
	_, err := s.Run(t.Context(), builder.Cmd{Args: []string{"false"}, OnError: func(ctx context.Context, _ *builder.ExitError, run runFunc) {
		for name, cmd := range map[string]builder.Cmd{
			"no arguments": {},
			"mounts":       {Args: []string{"true"}, Mounts: []builder.Mount{{Target: "/t", Tmpfs: &mount.Tmpfs{}}}},
			"files":        {Args: []string{"true"}, Files: map[string]string{"f": ""}},
			"isolation":    {Args: []string{"true"}, Isolation: isolation.Options{Network: isolation.Network{Mode: isolation.Host}}},
			"another":      {Args: []string{"true"}, OnError: func(context.Context, *builder.ExitError, runFunc) {}},
		} {
			if err := run(ctx, cmd); !errors.Is(err, builder.ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
		is(t, run(ctx, builder.Cmd{Args: []string{"true"}, User: "nobody-here"}), builder.ErrUserNotFound)
		late = run
		began := make(chan struct{})
		go func() {
			ended <- run(context.Background(), builder.Cmd{Args: []string{"/bin/sh", "-c", "echo; sleep 100"}, Stdout: writerFunc(func([]byte) { close(began) })})
		}()
		<-began
	}})
	exits(t, err, 1)
	select {
	case err := <-ended:
		if err == nil {
			t.Error("what was running has succeeded")
		}
	case <-time.After(time.Minute):
		t.Error("what was running goes on")
	}
	is(t, late(t.Context(), shell(&out, "echo late")), builder.ErrInvalid)
	equal(t, out.String(), "")
	_, err = s.Run(t.Context(), builder.Cmd{Args: []string{"sh", "-c", "exit 5"}, OnError: func(context.Context, *builder.ExitError, runFunc) { panic("of the callback") }})
	exits(t, err, 5)
	if !strings.Contains(err.Error(), "of the callback") {
		t.Errorf("it panicked, and the error is %v", err)
	}
}

// With the context all ends.
func TestOnErrorCancelled(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	for _, waits := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := fork(t, s).Run(ctx, builder.Cmd{Args: []string{"false"}, OnError: func(ctx context.Context, _ *builder.ExitError, run runFunc) {
			if waits {
				cancel()
				<-ctx.Done()
				return
			}
			time.AfterFunc(200*time.Millisecond, cancel)
			is(t, run(ctx, builder.Cmd{Args: []string{"sleep", "100"}}), context.Canceled)
		}})
		cancel()
		is(t, err, context.Canceled)
	}
	equal(t, sh(t, s, "echo goes on"), "goes on\n")
}

// When the worker dies, who looks at what failed is told.
func TestOnErrorWithoutWorker(t *testing.T) {
	b := open(t)
	s := base(t, b)
	workers := workersOf(t, os.Getpid())
	_, err := s.Run(t.Context(), builder.Cmd{Args: []string{"false"}, OnError: func(ctx context.Context, _ *builder.ExitError, run runFunc) {
		for _, pid := range workers {
			ok(t, unix.Kill(pid, unix.SIGKILL))
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Minute):
			t.Error("the worker is gone, and nobody is told")
		}
		if err := run(context.Background(), builder.Cmd{Args: []string{"true"}}); !errors.Is(err, builder.ErrClosed) {
			t.Errorf("the worker is gone: %v", err)
		}
	}})
	is(t, err, builder.ErrClosed)
}
