//go:build linux

package builder_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/limits"
	"github.com/oakum-build/oakum/builder/mount"
)

// secretOf is a secret with a content.
func secretOf(text string) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) { return []byte(text), nil }
}

func TestSecret(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	run(t, s, "mkdir /there && echo old >/there/f && ln -s /there /link && chown app /there")
	for _, test := range []struct {
		name   string
		mounts []builder.Mount
		cmd    builder.Cmd
		script string
		want   string
	}{
		{"a file", []builder.Mount{{Target: "/run/secrets/s", Secret: &mount.Secret{Read: secretOf("content")}}}, builder.Cmd{},
			"cat /run/secrets/s; stat -c ' %F %a %u:%g' /run/secrets/s; env | grep -c content", "content regular file 400 0:0\n0\n"},
		{"another owner and mode", []builder.Mount{{Target: "/a/b/s", Secret: &mount.Secret{Read: secretOf("x"), Mode: 0o640, UID: 1000, GID: 33}}}, builder.Cmd{User: "app"},
			"cat /a/b/s; stat -c ' %a %u:%g' /a/b/s", "x 640 1000:33\n"},
		{"another user's", []builder.Mount{{Target: "/s", Secret: &mount.Secret{Read: secretOf("x")}}}, builder.Cmd{User: "app"},
			"cat /s 2>&1", "cat: can't open '/s': Permission denied\n"},
		{"a variable", []builder.Mount{{Secret: &mount.Secret{Read: secretOf("a b\n c\n"), Env: "S"}}}, builder.Cmd{Env: []string{"S=other"}, UncachedEnv: []string{"S=another"}},
			`printf '%s' "$S"; ls /run 2>/dev/null`, "a b\n c\n"},
		{"a variable and a file", []builder.Mount{{Target: "s", Secret: &mount.Secret{Read: secretOf("x"), Env: "S"}}}, builder.Cmd{Dir: "/there"},
			"echo $S; cat /there/s", "x\nx"},
		{"bytes", []builder.Mount{{Target: "/s", Secret: &mount.Secret{Read: secretOf("\x00\xff\x80\n")}}}, builder.Cmd{},
			"od -An -tx1 </s", " 00 ff 80 0a\n"},
		{"a variable of bytes", []builder.Mount{{Secret: &mount.Secret{Read: secretOf("\xff\x80"), Env: "S"}}}, builder.Cmd{},
			`printf '%s' "$S" | od -An -tx1`, " ff 80\n"},
		{"over a file, through a link", []builder.Mount{{Target: "/link/f", Secret: &mount.Secret{Read: secretOf("new")}}}, builder.Cmd{},
			"cat /there/f", "new"},
		{"several", []builder.Mount{{Target: "/1", Secret: &mount.Secret{Read: secretOf("one")}}, {Target: "/2", Secret: &mount.Secret{Read: secretOf("two")}}}, builder.Cmd{},
			"cat /1 /2", "onetwo"},
		{"a target that would lead out (CVE-2024-7387)", []builder.Mount{{Target: "../../../s", Secret: &mount.Secret{Read: secretOf("x")}}}, builder.Cmd{Dir: "/there"},
			"cat /s", "x"},
		{"empty", []builder.Mount{{Target: "/s", Secret: &mount.Secret{Read: secretOf(""), Env: "S"}}}, builder.Cmd{},
			"wc -c </s; echo ${S-unset}", "0\n\n"},
		{"the largest", []builder.Mount{{Target: "/s", Secret: &mount.Secret{Read: secretOf(strings.Repeat("x", limits.MaxSecret))}}}, builder.Cmd{},
			"wc -c </s", fmt.Sprintln(limits.MaxSecret)},
		{"nothing can be written", []builder.Mount{{Target: "/s", Secret: &mount.Secret{Read: secretOf("x"), Mode: 0o666}}}, builder.Cmd{},
			"echo y >/s; rm /s; mv /s /t; chmod 777 /s; cat /s", "x"},
		{"a memory file system of its own", []builder.Mount{{Target: "/s", Secret: &mount.Secret{Read: secretOf("x")}}}, builder.Cmd{},
			"grep ' /s ' /proc/self/mountinfo | grep -o ro,nosuid,nodev", "ro,nosuid,nodev\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd := test.cmd
			cmd.Args, cmd.Mounts = []string{"/bin/sh", "-c", "(" + test.script + ") 2>/dev/null; true"}, test.mounts
			if inChroot && test.name == "a memory file system of its own" {
				return // nothing is mounted
			}
			if inChroot && test.name == "nothing can be written" {
				test.want = "" // it can be taken away, and is none of the image's
			}
			if strings.Contains(test.script, "2>&1") {
				cmd.Args[2] = test.script + "; true"
			}
			f := fork(t, s)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			step, err := f.Run(t.Context(), cmd)
			ok(t, err)
			equal(t, out.String(), test.want)
			if step.Cached {
				t.Error("it was found in the cache")
			}
			// It is gone, and so is the place that was made for it.
			equal(t, sh(t, f, "ls -d /a /s /1 /2 /t /run /there/s 2>/dev/null; cat /there/f; env | grep ^S=; true"), "old\n")
			// The content does not count, and the secret is not read for a step that is found.
			for i := range cmd.Mounts {
				again := *cmd.Mounts[i].Secret
				again.Read = func(context.Context) ([]byte, error) { t.Error("it was read again"); return nil, nil }
				cmd.Mounts[i].Secret = &again
			}
			if step, err = fork(t, s).Run(t.Context(), cmd); err != nil || !step.Cached {
				t.Errorf("the same once more: %+v, %v", step, err)
			}
		})
	}
}

// What of a secret counts in the key.
func TestSecretKey(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	for _, m := range []builder.Mount{
		{Target: "/s", Secret: &mount.Secret{}},
		{Target: "/t", Secret: &mount.Secret{}},
		{Target: "/s", Secret: &mount.Secret{Env: "E"}},
		{Target: "/s", Secret: &mount.Secret{Mode: 0o444}},
		{Target: "/s", Secret: &mount.Secret{UID: 1}},
		{Target: "/s", Secret: &mount.Secret{GID: 1}},
	} {
		m.Secret.Read = secretOf("x")
		step, err := fork(t, s).Run(t.Context(), builder.Cmd{Args: []string{"true"}, Mounts: []builder.Mount{m}})
		if err != nil || step.Cached {
			t.Errorf("%s %+v: %+v, %v", m.Target, *m.Secret, step, err)
		}
	}
}

var errOfSecret = errors.New("the vault is closed")

// What is wrong is told before the command is run, and nothing is left.
func TestSecretErrors(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	read := secretOf("TOKEN")
	for _, test := range []struct {
		name  string
		mount builder.Mount
		is    error
		want  string
	}{
		{"too large", builder.Mount{Target: "/s", Secret: &mount.Secret{Read: secretOf(strings.Repeat("x", limits.MaxSecret+1))}}, builder.ErrInvalid, "the secret at /s is larger than 512000 bytes"},
		{"not to be had", builder.Mount{Target: "/s", Secret: &mount.Secret{Read: func(context.Context) ([]byte, error) { return nil, errOfSecret }}}, errOfSecret, "the secret at /s: the vault is closed"},
		{"not to be had, for a variable", builder.Mount{Secret: &mount.Secret{Env: "V", Read: func(context.Context) ([]byte, error) { return nil, errOfSecret }}}, errOfSecret, "the secret in the variable V: the vault is closed"},
		{"panics", builder.Mount{Target: "/s", Secret: &mount.Secret{Read: func(context.Context) ([]byte, error) { panic("of the vault") }}}, nil, "of the vault"},
		{"NUL in a variable", builder.Mount{Secret: &mount.Secret{Env: "V", Read: secretOf("TOKEN\x00")}}, builder.ErrInvalid, "NUL byte, which the variable V cannot have: mount it as a file"},
		{"too large for a variable", builder.Mount{Secret: &mount.Secret{Env: "V", Read: secretOf(strings.Repeat("x", limits.MaxValue))}}, builder.ErrInvalid, "mount it as a file"},
		{"no place", builder.Mount{Secret: &mount.Secret{Read: read}}, builder.ErrInvalid, "target"},
		{"nothing to read", builder.Mount{Target: "/s", Secret: &mount.Secret{}}, builder.ErrInvalid, "Read"},
		{"a variable that is none", builder.Mount{Secret: &mount.Secret{Env: "A=B", Read: read}}, builder.ErrInvalid, "A=B"},
		{"a variable with a NUL", builder.Mount{Secret: &mount.Secret{Env: "A\x00", Read: read}}, builder.ErrInvalid, "variable"},
		{"a mode with more", builder.Mount{Target: "/s", Secret: &mount.Secret{Read: read, Mode: os.ModeDevice | 0o400}}, builder.ErrInvalid, "mode"},
		{"an owner that is none", builder.Mount{Target: "/s", Secret: &mount.Secret{Read: read, UID: -1}}, builder.ErrInvalid, "-1"},
		{"the root", builder.Mount{Target: "/", Secret: &mount.Secret{Read: read}}, builder.ErrInvalid, "mounted over /;"},
		{"what the machine shows", builder.Mount{Target: "/proc/self/environ", Secret: &mount.Secret{Read: read}}, builder.ErrInvalid, "/proc"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := fork(t, s)
			_, err := f.Run(t.Context(), builder.Cmd{Args: []string{"/bin/sh", "-c", "echo ran >/ran"}, Mounts: []builder.Mount{test.mount}})
			if err == nil || !strings.Contains(err.Error(), test.want) || test.is != nil && !errors.Is(err, test.is) || strings.Contains(err.Error(), "TOKEN") {
				t.Fatalf("got %v, want %q", err, test.want)
			}
			equal(t, sh(t, f, "ls -d /ran /s 2>/dev/null; true"), "")
		})
	}
	if os.Geteuid() != 0 {
		_, err := s.Run(t.Context(), builder.Cmd{Args: []string{"true"}, Mounts: []builder.Mount{{Target: "/s", Secret: &mount.Secret{Read: read, UID: 1 << 30}}}})
		if err == nil || !strings.Contains(err.Error(), "1073741824 is not mapped") {
			t.Errorf("an id that is not mapped: %v", err)
		}
	}
}

// A secret is read when the command is run, with its context, and a step without a result tells so.
func TestSecretCancelled(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	ctx, cancel := context.WithCancel(t.Context())
	read := func(ctx context.Context) ([]byte, error) {
		cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	_, err := s.Run(ctx, builder.Cmd{Args: []string{"true"}, Mounts: []builder.Mount{{Target: "/s", Secret: &mount.Secret{Read: read}}}})
	is(t, err, context.Canceled)
	ok(t, errOf(s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/sh", "-c", "cat /s"}, Mounts: []builder.Mount{{Target: "/s", Secret: &mount.Secret{Read: secretOf("x")}}}})))
	l, err := b.Stage(t.Context(), builder.Scratch, builder.StageOptions{Lookup: true})
	ok(t, err)
	defer l.Close()
	_, err = l.Run(t.Context(), builder.Cmd{Args: []string{"true"}, Mounts: []builder.Mount{{Target: "/s", Secret: &mount.Secret{Read: func(context.Context) ([]byte, error) {
		t.Error("a secret was read to look a step up")
		return nil, nil
	}}}}})
	is(t, err, builder.ErrUncached)
}

// The worker keeps a secret and an agent's socket for as long as their command runs, however it ends.
func TestSecretIsUnmounted(t *testing.T) {
	b := open(t)
	s := base(t, b)
	key, _ := sshKey(t, "k")
	mounted := func() (n int) {
		for _, pid := range workersOf(t, os.Getpid()) {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
			ok(t, err)
			n += strings.Count(string(text), " - ramfs ")
		}
		return n
	}
	for _, test := range []struct {
		script string
		read   func(context.Context) ([]byte, error)
		during int
	}{
		{"echo; true", secretOf("x"), 2}, {"echo; false", secretOf("x"), 2},
		{"echo; sleep 100", secretOf("x"), 2},
		{"echo", func(context.Context) ([]byte, error) { return nil, errOfSecret }, 0},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		during := 0
		_, err := s.Run(ctx, builder.Cmd{
			Args: []string{"/bin/sh", "-c", test.script + "; exit 1"}, Mounts: []builder.Mount{{SSH: &mount.SSH{Keys: []string{key}}}, {Target: "/s", Secret: &mount.Secret{Read: test.read}}},
			Stdout: writerFunc(func([]byte) {
				if during = mounted(); strings.Contains(test.script, "sleep") {
					cancel()
				}
			}),
			OnError: func(context.Context, *builder.ExitError, func(context.Context, builder.Cmd) error) {
				if n := mounted(); n != test.during {
					t.Errorf("%s: %d are mounted for who looks at the failed command", test.script, n)
				}
			},
		})
		if err == nil {
			t.Errorf("%s has succeeded", test.script)
		}
		cancel()
		if after := mounted(); during != test.during || after != 0 {
			t.Errorf("%s: %d are mounted while it runs, and %d after it", test.script, during, after)
		}
	}
}

// Whatever the command does to the place of its secret, no later one sees it, and the layer has
// nothing of it (podman#13417).
func TestSecretLeavesNothing(t *testing.T) {
	t.Parallel()
	const token = "0a41b7d2c9TOKEN"
	b := open(t)
	s := base(t, b)
	ok(t, errOf(s.Run(t.Context(), builder.Cmd{
		Args:   []string{"/bin/sh", "-c", "test -s /a/b/s && touch /a/other; umount /a/b/s; rm -rf /a; mkdir /a/b/d; chmod 777 /a/b; true"},
		Mounts: []builder.Mount{{Target: "/a/b/s", Secret: &mount.Secret{Read: secretOf(token), Env: "SECRET"}}},
	})))
	equal(t, sh(t, s, "ls -d /a/b/s 2>/dev/null; grep -r TOKEN /a /tmp /run /etc /root 2>/dev/null; env | grep TOKEN; true"), "")
	for _, e := range lastLayer(t, b, s) {
		if strings.Contains(e.content, token) || e.Name == "a/b/s" {
			t.Errorf("the layer has %s: %q", e.Name, e.content)
		}
	}
}
