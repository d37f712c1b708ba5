//go:build linux

package builder_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/terminal"
)

// state is all of a file that a command could change.
func state(t testing.TB, f *os.File) string {
	t.Helper()
	info, err := f.Stat()
	ok(t, err)
	conn, err := f.SyscallConn()
	ok(t, err)
	var flags int
	ok(t, conn.Control(func(fd uintptr) { flags, err = unix.FcntlInt(fd, unix.F_GETFL, 0) }))
	ok(t, err)
	stat := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%d:%d %v %#x", stat.Uid, stat.Gid, info.Mode(), flags)
}

func openFile(t testing.TB, path string, flags int) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, flags, 0o600)
	ok(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func written(t testing.TB, f *os.File) string {
	t.Helper()
	data, err := os.ReadFile(f.Name())
	ok(t, err)
	return string(data)
}

// Whoever the command is, it cannot do to a file of the caller's what reading and writing
// it does not do.
func TestRunKeepsFiles(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	const script = `cat
		for fd in 0 1 2; do chown 33:33 /proc/self/fd/$fd; chmod 777 /proc/self/fd/$fd; done 2>/dev/null
		echo into >>/dev/stdout
		echo over >/dev/stdout
		echo in >/dev/stdin
		for fd in 0 1 2; do test -p /proc/self/fd/$fd || echo $fd is no pipe; done
		echo err >&2; exit 0`
	for _, user := range []string{"root", "app", "1234:1235"} {
		for _, flags := range []int{os.O_APPEND, 0} {
			dir := t.TempDir()
			ok(t, os.WriteFile(filepath.Join(dir, "in"), []byte("a\x00b\xff\n"), 0o600))
			ok(t, os.WriteFile(filepath.Join(dir, "out"), []byte("before\n"), 0o640))
			in := openFile(t, filepath.Join(dir, "in"), os.O_RDONLY)
			out := openFile(t, filepath.Join(dir, "out"), os.O_WRONLY|flags)
			errs := openFile(t, filepath.Join(dir, "err"), os.O_WRONLY|os.O_CREATE|os.O_EXCL)
			files := []*os.File{in, out, errs}
			var before []string
			for _, f := range files {
				before = append(before, state(t, f))
			}
			if flags == 0 {
				_, err := out.Seek(0, io.SeekEnd)
				ok(t, err)
			}
			ok(t, errOf(s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/sh", "-c", script}, User: user, Stdin: in, Stdout: out, Stderr: errs, Ephemeral: true})))
			for i, f := range files {
				equal(t, state(t, f), before[i])
			}
			equal(t, written(t, in), "a\x00b\xff\n")
			equal(t, written(t, out), "before\na\x00b\xff\ninto\nover\n")
			equal(t, written(t, errs), "err\n")
		}
	}
}

// A directory as standard input would lead out of the root file system.
func TestRunUnreadableInput(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	dir := t.TempDir()
	ok(t, os.WriteFile(filepath.Join(dir, "secret"), []byte("secret"), 0o600))
	for _, in := range []*os.File{openFile(t, dir, os.O_RDONLY), openFile(t, os.DevNull, os.O_WRONLY)} {
		cmd := builder.Cmd{Args: []string{"/bin/sh", "-c", "cat /proc/self/fd/0/secret || ls /proc/self/fd/0/.. || cat"}, Stdin: in, Ephemeral: true}
		var out bytes.Buffer
		cmd.Stdout = &out
		ok(t, errOf(s.Run(t.Context(), cmd)))
		equal(t, out.String(), "")
	}
	ok(t, errOf(s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/true"}, Stdin: io.MultiReader(), Ephemeral: true})))
	_, err := s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/cat"}, Stdin: io.MultiReader(strings.NewReader("x"), brokenReader{}), Ephemeral: true})
	is(t, err, errBroken)
}

// Of what a command has not used, the next reader of the file gets all that can be given
// back, and nobody reads on.
func TestRunLeavesInput(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	path := filepath.Join(t.TempDir(), "in")
	text := "1\n2\n3\n" + strings.Repeat("x", 1<<20)
	ok(t, os.WriteFile(path, []byte(text), 0o600))
	in := openFile(t, path, os.O_RDONLY)
	for _, want := range []string{"1\n", "2\n"} {
		equal(t, output(t, s, builder.Cmd{Args: []string{"/bin/sh", "-c", "read a; echo $a"}, Stdin: in, Ephemeral: true}), want)
	}
	ok(t, errOf(s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/true"}, Stdin: in, Ephemeral: true})))
	rest, err := io.ReadAll(in)
	ok(t, err)
	equal(t, fmt.Sprint(len(rest)), fmt.Sprint(len(text)-4))

	r, w, err := os.Pipe()
	ok(t, err)
	defer r.Close()
	for range 2 {
		start := time.Now()
		ok(t, errOf(s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/true"}, Stdin: r, Ephemeral: true})))
		if took := time.Since(start); took > time.Minute {
			t.Errorf("an input that does not end kept the command for %v", took)
		}
	}
	_, err = w.WriteString("for others\n")
	ok(t, err)
	w.Close()
	rest, err = io.ReadAll(r)
	ok(t, err)
	equal(t, string(rest), "for others\n")
}

// Both outputs in one file keep their order, also when it was opened twice.
func TestRunOrder(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	path := filepath.Join(t.TempDir(), "log")
	one := openFile(t, path, os.O_WRONLY|os.O_CREATE|os.O_APPEND)
	other := openFile(t, path, os.O_WRONLY|os.O_APPEND)
	ok(t, errOf(s.Run(t.Context(), builder.Cmd{
		Args:   []string{"/bin/sh", "-c", "for i in 1 2 3 4 5 6 7 8; do echo o; echo e >&2; done"},
		Stdout: one, Stderr: other, Ephemeral: true,
	})))
	equal(t, written(t, one), strings.Repeat("o\ne\n", 8))
}

func TestRunBinary(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	data := make([]byte, 3<<20)
	_, _ = rand.New(rand.NewSource(1)).Read(data)
	path := filepath.Join(t.TempDir(), "data")
	ok(t, os.WriteFile(path, data, 0o600))
	for _, in := range []io.Reader{bytes.NewReader(data), openFile(t, path, os.O_RDONLY)} {
		out := openFile(t, filepath.Join(t.TempDir(), "out"), os.O_WRONLY|os.O_CREATE)
		ok(t, errOf(s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/cat"}, Stdin: in, Stdout: out, Ephemeral: true})))
		equal(t, fmt.Sprintf("%x", sha256.Sum256([]byte(written(t, out)))), fmt.Sprintf("%x", sha256.Sum256(data)))
	}
}

// Output that is lost is an error. What a step does to the files is not to depend on who
// listens, while another command ends as it does in a shell.
func TestRunOutputFails(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	full := openFile(t, "/dev/full", os.O_WRONLY)
	for _, w := range []io.Writer{brokenWriter{}, full} {
		_, err := s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/echo", "x"}, Stdout: w, Ephemeral: true})
		if !errors.Is(err, errBroken) && !errors.Is(err, unix.ENOSPC) {
			t.Errorf("got error %v", err)
		}
		_, err = s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/yes"}, Stdout: w, Ephemeral: true})
		if !errors.Is(err, errBroken) && !errors.Is(err, unix.ENOSPC) {
			t.Errorf("got error %v", err)
		}
	}
	step := builder.Cmd{Args: []string{"/bin/sh", "-c", "yes | head -c 1000000 | tee /all; echo end >>/all"}, Stdout: brokenWriter{}}
	did, err := s.Run(t.Context(), step)
	is(t, err, errBroken)
	equal(t, sh(t, s, "wc -c </all"), "1000004\n")
	if did.Layer == "" || did.Cached {
		t.Errorf("a step that was done all the same is told as %+v", did)
	}
	// The second time it is in the cache, and nothing is written.
	again := base(t, b)
	did, err = again.Run(t.Context(), step)
	ok(t, err)
	if !did.Cached {
		t.Errorf("the repeated step was not in the cache: %+v", did)
	}
}

// A writer that hangs does not hold up a command that is cancelled.
func TestCancelHangingWriter(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	forever := make(chan struct{})
	defer close(forever)
	ctx, cancel := context.WithCancel(t.Context())
	hang := trigger(func() { cancel(); <-forever })
	start := time.Now()
	is(t, errOf(s.Run(ctx, builder.Cmd{Args: []string{"/bin/yes"}, Stdout: hang, Ephemeral: true})), context.Canceled)
	if took := time.Since(start); took > time.Minute {
		t.Errorf("took %v", took)
	}
}

func TestRunTerminal(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	for name, test := range map[string]struct {
		script, typed, want string
		user                string
	}{
		"three terminals": {script: "test -t 0 && test -t 1 && test -t 2 && stty size && echo $TERM >&2", want: "33 77\r\nxterm\r\n"},
		"a user's":        {user: "app", script: "echo out >/dev/stdout; echo tty >/dev/tty; echo console >/dev/console", want: "out\r\ntty\r\nconsole\r\n"},
		"the end":         {script: "stty -echo; cat; cat; echo ended", want: "ended\r\n"},
		"typed":           {script: "stty -echo; echo ready; cat", typed: "a line\nand a part", want: "ready\r\na line\r\nand a part"},
		"raw":             {script: "stty raw -echo; echo ready; head -c 3 | tr '\\003\\004\\n' abc", typed: "\x03\n\x04", want: "ready\nacb"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			r, w := io.Pipe()
			begun := false
			cmd := builder.Cmd{
				Args: []string{"/bin/sh", "-c", test.script}, User: test.user, Ephemeral: true,
				Terminal: &terminal.Terminal{Size: terminal.Size{Rows: 33, Columns: 77}},
				Stdout: writerFunc(func(p []byte) {
					out.Write(p)
					if !begun && strings.Contains(out.String(), "ready") {
						begun = true
						go func() { _, _ = io.WriteString(w, test.typed); w.Close() }()
					}
				}),
			}
			if test.typed != "" {
				cmd.Stdin = r
			}
			ok(t, errOf(s.Run(t.Context(), cmd)))
			equal(t, out.String(), test.want)
		})
	}
	e := exits(t, errOf(s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/sh", "-c", "echo why; exit 7"}, Terminal: &terminal.Terminal{}, Ephemeral: true})), 7)
	equal(t, string(e.Output), "why\r\n")
	e = exits(t, errOf(s.Run(t.Context(), builder.Cmd{Args: []string{"/none"}, Terminal: &terminal.Terminal{}, Ephemeral: true})), 127)
	equal(t, string(e.Output), "")
}

func TestRunTerminalResized(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	sizes := make(chan terminal.Size)
	var out bytes.Buffer
	first := true
	watch := writerFunc(func(p []byte) {
		out.Write(p)
		if first && strings.Contains(out.String(), "up") {
			first = false
			go func() { sizes <- terminal.Size{Rows: 40, Columns: 100} }()
		}
	})
	ok(t, errOf(s.Run(t.Context(), builder.Cmd{
		Args:   []string{"/bin/sh", "-c", `trap 'stty size; exit 0' WINCH; echo up; while :; do sleep 0.1; done`},
		Stdout: watch, Terminal: &terminal.Terminal{Resized: sizes}, Ephemeral: true,
	})))
	equal(t, out.String(), "up\r\n40 100\r\n")
}

type writerFunc func(p []byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }
