//go:build linux

package builder_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder"
)

func TestRunIsAStep(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	var out bytes.Buffer
	ok(t, errOf(s.Run(t.Context(), builder.Cmd{Args: []string{"sh", "-c", "echo made >/f && cat /f"}, Stdout: &out})))
	equal(t, out.String(), "made\n")
	run(t, s, "echo more >>/f")
	equal(t, sh(t, s, "cat /f"), "made\nmore\n")
}

func TestRunEnvironment(t *testing.T) {
	t.Setenv("CI_TOKEN", "the host's secret")
	b := open(t)
	s := base(t, b)
	tests := []struct {
		name   string
		config []string
		cmd    builder.Cmd
		want   string
	}{
		{"defaults", nil, builder.Cmd{}, "HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		{"the user's home", nil, builder.Cmd{User: "app"}, "HOME=/home/app PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		{"configured", []string{"A=1", "PATH=/bin", "HOME=/h"}, builder.Cmd{}, "A=1 HOME=/h PATH=/bin"},
		{"the command's wins", []string{"A=1", "B=1", "PATH=/bin", "HOME=/"}, builder.Cmd{Env: []string{"A=2"}, UncachedEnv: []string{"B=3", "C=4"}}, "A=2 B=3 C=4 HOME=/ PATH=/bin"},
		{"the last wins", []string{"A=1", "A=2", "PATH=/bin", "HOME=/"}, builder.Cmd{Env: []string{"A=3", "A=4"}}, "A=4 HOME=/ PATH=/bin"},
		{"odd values", []string{"PATH=/bin", "HOME=/"}, builder.Cmd{Env: []string{"A=", "B=x=y", "C=a b\tc"}}, "A= B=x=y C=a b\tc HOME=/ PATH=/bin"},
		{"names alone import nothing", []string{"CI_TOKEN", "PATH=/bin", "HOME=/"}, builder.Cmd{Env: []string{"*", "CI_*", "HOME", "=x", ""}}, "HOME=/ PATH=/bin"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s.Configure("", func(c *builder.Config) { c.Env = test.config })
			// The shell would add variables of its own.
			test.cmd.Args, test.cmd.Ephemeral = []string{"/bin/env"}, true
			got := strings.Split(strings.TrimSpace(output(t, s, test.cmd)), "\n")
			equal(t, strings.Join(sorted(got), " "), test.want)
		})
	}
	s.Configure("", func(c *builder.Config) { c.Env = nil })
	equal(t, sh(t, s, "cat /proc/[0-9]*/environ | tr '\\0' '\\n' | grep -c secret; true"), "0\n")
}

func TestRunSearchesPath(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	run(t, s, "mkdir /opt /wd && printf '#!/bin/sh\\necho mine' >/opt/tool && printf '#!/bin/sh\\necho here' >/wd/tool && chmod +x /opt/tool /wd/tool")
	equal(t, output(t, s, builder.Cmd{Args: []string{"tool"}, Env: []string{"PATH=/none:/opt"}, Dir: "/wd"}), "mine\n")
	equal(t, output(t, s, builder.Cmd{Args: []string{"./tool"}, Dir: "/wd"}), "here\n")
	_, err := s.Run(t.Context(), builder.Cmd{Args: []string{"tool"}, Dir: "/wd"})
	exits(t, err, 127)
}

func TestRunDir(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	run(t, s, "mkdir -p /a/b && ln -s /a/b /link")
	for _, test := range []struct{ workdir, dir, want string }{
		{"", "", "/"}, {"", "a", "/a"}, {"/a", "", "/a"}, {"/a", "b", "/a/b"}, {"/a", "/home", "/home"}, {"/a", "../etc", "/etc"},
		{"/a", "../../../..", "/"}, {"", "/link", "/a/b"},
	} {
		s.Configure("", func(c *builder.Config) { c.WorkingDir = test.workdir })
		equal(t, output(t, s, builder.Cmd{Args: []string{"/bin/sh", "-c", "pwd -P"}, Dir: test.dir, Ephemeral: true}), test.want+"\n")
	}
}

// The groups are those of the group file for a user without a group, as Docker's.
func TestRunUser(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	for _, test := range []struct{ config, user, want string }{
		{"", "", "uid=0(root) gid=0(root) groups=0(root)"},
		{"app", "", "uid=1000(app) gid=1001(apps) groups=1001(apps),2000(extra),2001(more)"},
		{"app", "root", "uid=0(root) gid=0(root) groups=0(root)"},
		{"", "web", "uid=33(web) gid=33(web) groups=33(web),2000(extra)"},
		{"", "1000", "uid=1000(app) gid=1001(apps) groups=1001(apps),2000(extra),2001(more)"},
		{"", "1000:5", "uid=1000(app) gid=5 groups=5"},
		{"", "app:extra", "uid=1000(app) gid=2000(extra) groups=2000(extra)"},
		{"", "1234", "uid=1234 gid=0(root) groups=0(root)"},
		{"", "1234:1235", "uid=1234 gid=1235 groups=1235"},
		{"", ":33", "uid=0(root) gid=33(web) groups=33(web)"},
	} {
		t.Run(test.config+"/"+test.user, func(t *testing.T) {
			s.Configure("", func(c *builder.Config) { c.User = test.config })
			equal(t, output(t, s, builder.Cmd{Args: []string{"/bin/id"}, User: test.user, Ephemeral: true}), test.want+"\n")
		})
	}
	s.Configure("", func(c *builder.Config) { c.User = "" })
	for _, user := range []string{"nobody-here", "app:nogroup", "-1", "0:-1", "99999999999", "nobody-here:0"} {
		is(t, errOf(s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/id"}, User: user})), builder.ErrUserNotFound)
	}
}

func TestRunStreams(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	split := builder.Cmd{Args: []string{"/bin/sh", "-c", "read a; echo out $a; echo err $a >&2; cat | wc -c"}, Ephemeral: true}
	t.Run("buffers", func(t *testing.T) {
		cmd := split
		var stdout, stderr bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("in\n"+strings.Repeat("x", 1<<20)), &stdout, &stderr
		ok(t, errOf(s.Run(t.Context(), cmd)))
		equal(t, stdout.String(), "out in\n1048576\n")
		equal(t, stderr.String(), "err in\n")
	})
	t.Run("files", func(t *testing.T) {
		dir := t.TempDir()
		ok(t, os.WriteFile(filepath.Join(dir, "in"), []byte("file\nrest"), 0o600))
		in, err := os.Open(filepath.Join(dir, "in"))
		ok(t, err)
		defer in.Close()
		out, err := os.Create(filepath.Join(dir, "out"))
		ok(t, err)
		defer out.Close()
		cmd := split
		cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, out
		ok(t, errOf(s.Run(t.Context(), cmd)))
		got, err := os.ReadFile(out.Name())
		ok(t, err)
		equal(t, string(got), "out file\nerr file\n4\n")
	})
	t.Run("none", func(t *testing.T) {
		ok(t, errOf(s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/sh", "-c", "cat; echo lost; yes | head -c 1000000"}, Ephemeral: true})))
	})
	t.Run("one writer for both keeps the order", func(t *testing.T) {
		var both bytes.Buffer
		cmd := builder.Cmd{Args: []string{"/bin/sh", "-c", "for i in 1 2 3; do echo o$i; echo e$i >&2; done"}, Ephemeral: true, Stdout: &both, Stderr: &both}
		ok(t, errOf(s.Run(t.Context(), cmd)))
		equal(t, both.String(), "o1\ne1\no2\ne2\no3\ne3\n")
	})
	t.Run("input that is not read to its end", func(t *testing.T) {
		r, w := io.Pipe()
		defer w.Close()
		ok(t, errOf(s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/true"}, Stdin: r, Ephemeral: true})))
	})
	t.Run("writers that cannot be compared", func(t *testing.T) {
		ok(t, errOf(s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/true"}, Stdout: oddWriter{}, Stderr: oddWriter{}, Ephemeral: true})))
	})
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

type oddWriter struct{ _ []byte }

func (oddWriter) Write(p []byte) (int, error) { return len(p), nil }

func TestRunFails(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	ok(t, errOf(s.Copy(t.Context(), "/", builder.Dir(tree(t, map[string]string{"plain": "x", "crash": crashing(t), "text": "not a program"})))))
	run(t, s, "chmod 755 /crash /text; printf '#!/no/interpreter\\n' >/orphan; chmod 755 /orphan; ln -s loop /loop")
	before := find(t, s, "/etc")
	for _, test := range []struct {
		args []string
		code int
	}{
		{[]string{"/bin/false"}, 1},
		{[]string{"/bin/sh", "-c", "echo gone >/etc/passwd; exit 42"}, 42},
		{[]string{"/bin/sh", "-c", "exit 255"}, 255},
		{[]string{"no-such-command"}, 127},
		{[]string{"/no/such/command"}, 127},
		{[]string{"/plain"}, 126},
		{[]string{"/etc"}, 126},
		{[]string{"/plain/x"}, 126},
		{[]string{"/loop"}, 126},
		{[]string{"/crash"}, 128 + 11},
		{[]string{"/bin/sh", "-c", "sh -c 'kill -9 $$'; exit $?"}, 137},
		{[]string{"/bin/sh", "-c", "/crash"}, 139},
	} {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			e := exits(t, errOf(s.Run(t.Context(), builder.Cmd{Args: test.args})), test.code)
			equal(t, strings.Join(e.Args, " "), strings.Join(test.args, " "))
			if started := test.args[0] == "/bin/sh" || test.args[0] == "/bin/false" || test.args[0] == "/crash"; started != (e.Reason == "") {
				t.Errorf("reason %q", e.Reason)
			}
		})
	}
	// Only the execution shows what is wrong with these.
	for command, want := range map[string]struct {
		code int
		why  string
	}{"/orphan": {127, "interpreter or dynamic linker"}, "/text": {126, "exec format error"}} {
		e := exits(t, errOf(s.Run(t.Context(), builder.Cmd{Args: []string{command}})), want.code)
		if !strings.Contains(e.Reason, want.why) {
			t.Errorf("%s: reason %q", command, e.Reason)
		}
	}
	equal(t, find(t, s, "/etc"), before)
	equal(t, sh(t, s, "head -n 1 /etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")
	is(t, errOf(s.Run(t.Context(), builder.Cmd{})), builder.ErrInvalid)
	is(t, errOf(s.Run(t.Context(), builder.Cmd{Args: []string{""}})), builder.ErrInvalid)
}

func TestExitErrorOutput(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	e := exits(t, errOf(s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/sh", "-c", "echo out; echo err >&2; exit 3"}})), 3)
	equal(t, string(e.Output), "out\nerr\n")
	equal(t, e.Error(), `command "/bin/sh -c echo out; echo err >&2; exit 3": exit status 3`)
	e = exits(t, errOf(s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/sh", "-c", "seq 100000; exit 3"}, Stdout: io.Discard})), 3)
	if len(e.Output) > 8<<10 || len(e.Output) < 4<<10 || !bytes.HasSuffix(e.Output, []byte("\n99999\n100000\n")) {
		t.Errorf("%d bytes of output, ending in %q", len(e.Output), e.Output[max(0, len(e.Output)-20):])
	}
	if first, _, _ := bytes.Cut(e.Output, []byte("\n")); len(first) != 5 {
		t.Errorf("the output begins with %q, not with a whole line", first)
	}
}

func TestRunEphemeral(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	cmd := builder.Cmd{Args: []string{"/bin/sh", "-c", "rm /etc/passwd; echo x >/f; cat /proc/sys/kernel/random/uuid"}, Ephemeral: true}
	if first := output(t, s, cmd); first == output(t, s, cmd) {
		t.Errorf("both runs gave %q", first)
	}
	equal(t, sh(t, s, "ls /f 2>&1; ls /etc/passwd; true"), "ls: /f: No such file or directory\n/etc/passwd\n")
	img, err := s.Commit(t.Context(), "", builder.CommitOptions{})
	ok(t, err)
	if n := len(layers(t, b, img.ID)); n != 1 {
		t.Errorf("%d layers, want the copy's alone", n)
	}
	cmd.Args = []string{"/bin/sh", "-c", "exit 5"}
	exits(t, errOf(s.Run(t.Context(), cmd)), 5)
}

// exits fails the test unless err is of a command that ended with the code.
func exits(t testing.TB, err error, code int) *builder.ExitError {
	t.Helper()
	var e *builder.ExitError
	if !errors.As(err, &e) {
		t.Fatalf("got error %v, want an ExitError", err)
	}
	if e.Code != code {
		t.Fatalf("got code %d (%v), want %d", e.Code, err, code)
	}
	return e
}

// crashing is a program of this machine's kind that has no code at its entry.
func crashing(t testing.TB) string {
	t.Helper()
	program, err := os.ReadFile(busyboxPath)
	ok(t, err)
	head := append([]byte{}, program[:64]...)
	order := binary.ByteOrder(binary.LittleEndian)
	if head[5] == 2 {
		order = binary.BigEndian
	}
	order.PutUint16(head[16:], 2)  // an executable at fixed addresses
	order.PutUint64(head[24:], 16) // its entry, in a page that nothing is mapped to
	order.PutUint64(head[32:], 64) // one program header
	order.PutUint64(head[40:], 0)
	order.PutUint16(head[56:], 1)
	order.PutUint16(head[60:], 0)
	segment := make([]byte, 56)
	order.PutUint32(segment, 1) // loaded
	order.PutUint32(segment[4:], 4)
	order.PutUint64(segment[16:], 0x400000)
	order.PutUint64(segment[24:], 0x400000)
	order.PutUint64(segment[32:], 120)
	order.PutUint64(segment[40:], 120)
	order.PutUint64(segment[48:], 0x1000)
	return string(head) + string(segment)
}

func TestRunOfCancelledContext(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	is(t, errOf(s.Run(ctx, builder.Cmd{Args: []string{"/bin/true"}})), context.Canceled)
	run(t, s, "true")
}

// The store, what belongs to it and the directory for temporary files may lie behind
// links, and be given relative to the working directory.
func TestStoreBehindLinks(t *testing.T) {
	dir := tempDir(t)
	for _, d := range []string{"real", "run", "tmp"} {
		ok(t, os.Mkdir(filepath.Join(dir, d), 0o755))
		ok(t, os.Symlink(d, filepath.Join(dir, d+"-link")))
	}
	ok(t, os.Symlink(filepath.Join(dir, "real-link"), filepath.Join(dir, "again")))
	t.Setenv("TMPDIR", filepath.Join(dir, "tmp-link"))
	wd, err := os.Getwd()
	ok(t, err)
	relative, err := filepath.Rel(wd, filepath.Join(dir, "again"))
	ok(t, err)
	for i, opts := range []builder.Options{
		{Root: filepath.Join(dir, "real-link", "store")},
		{Root: filepath.Join(dir, "again", "store"), RunRoot: filepath.Join(dir, "run-link", "a")},
		{Root: filepath.Join(relative, "store"), RunRoot: filepath.Join(dir, "run-link")},
		{Root: filepath.Join(dir, "again")},
		{Root: filepath.Join(dir, "real", "store")},
	} {
		b := openIn(t, opts)
		s := base(t, b)
		run(t, s, fmt.Sprintf("echo %d >/file", i))
		equal(t, sh(t, s, "cat /file"), fmt.Sprintf("%d\n", i))
		_, err := s.Commit(t.Context(), "localhost/a", builder.CommitOptions{})
		ok(t, err)
		ok(t, b.Close())
	}
}
