//go:build linux

package builder_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder"
)

// Paths, arguments and variables are bytes, in whatever encoding.
func TestBytesAreKept(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b := openIn(t, builder.Options{Root: filepath.Join(tempDir(t), "st\xf6re")})
	s := base(t, b)
	dir := filepath.Join(t.TempDir(), "d\xeer")
	ok(t, os.MkdirAll(filepath.Join(dir, "s\xfcb"), 0o755))
	for _, name := range []string{"caf\xe9", "caf\xe8", "cafe", "s\xfcb/\xff", "gone\xe9", "\U0010FEE9"} {
		ok(t, os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644))
	}
	src := builder.Dir(dir).Ignore("gone\xe9", "s[\xfc]b/\xfe")
	ok(t, errOf(s.Copy(ctx, "/\xe4ll/", src)))
	ok(t, errOf(s.Copy(ctx, "/s\xf6me/", src.Select("caf[\xe0-\xe9]"), src.Select("?afe"))))
	ok(t, errOf(s.Copy(ctx, "/\xf6ne", src.Select("s\xfcb/\xff").Exclude("\xfe"))))
	var got []string
	for _, e := range lastLayer(t, b, s) {
		got = append(got, e.Name+" "+e.content)
	}
	equal(t, strings.Join(got, "\n"), "\xf6ne s\xfcb/\xff")
	equal(t, sh(t, s, `cd /; for f in *ll/* *ll/s*/* s*me/*; do [ -d "$f" ] || printf '%s=%s\n' "$f" "$(cat "$f")"; done`),
		"\xe4ll/cafe=cafe\n\xe4ll/caf\xe8=caf\xe8\n\xe4ll/caf\xe9=caf\xe9\n\xe4ll/\U0010FEE9=\U0010FEE9\n\xe4ll/s\xfcb/\xff=s\xfcb/\xff\n"+
			"s\xf6me/cafe=cafe\ns\xf6me/caf\xe8=caf\xe8\ns\xf6me/caf\xe9=caf\xe9\n")

	echo := func(arg, value string) string {
		return output(t, s, builder.Cmd{Args: []string{"sh", "-c", `printf '%s|%s|%s' "$0" "$1" "$V"; cat /dev/pipes/f`, arg, "é"}, Env: []string{"V=" + value}, Files: map[string]string{"f": arg}, Ephemeral: true})
	}
	for _, text := range []string{"plain", "\xe9", "\ufffd", "\U0010FEE9", "\xf4\x8f\xbb", "\x80\xc3"} {
		equal(t, echo(text, "x"), text+"|é|x"+text)
		equal(t, echo("x", text), "x|é|"+text+"x")
	}
	// Other bytes are another step.
	for _, text := range []string{"\xe9", "\xe8", "\ufffd"} {
		for _, cmd := range []builder.Cmd{{Args: []string{"true", text}}, {Args: []string{"true"}, Env: []string{"V=" + text}}, {Args: []string{"true"}, Files: map[string]string{"f": text}}} {
			fork, err := s.Fork(ctx, builder.StageOptions{})
			ok(t, err)
			step, err := fork.Run(ctx, cmd)
			ok(t, err)
			if step.Cached {
				t.Errorf("%q was found in the cache", text)
			}
			ok(t, fork.Close())
		}
		fork, err := s.Fork(ctx, builder.StageOptions{})
		ok(t, err)
		step, err := fork.Copy(ctx, "/"+text, src.Select("cafe"))
		ok(t, err)
		if step.Cached {
			t.Errorf("a copy to %q was found in the cache", text)
		}
		ok(t, fork.Close())
	}
	is(t, errOf(s.Copy(ctx, "/", src.Select("none\xe9"))), builder.ErrNotFound)
	if _, err := s.Copy(ctx, "/", src.Select("none\xe9")); !strings.Contains(err.Error(), `none\xe9`) {
		t.Errorf("got %v", err)
	}
}

// A command that needs a launcher fails as any other.
func TestBytesOfCommandsThatFail(t *testing.T) {
	t.Parallel()
	s := base(t, open(t))
	run(t, s, "echo x >/plain; mkdir -p /bin/dir; printf '#!/bin/sh\nexit 7\n' >/bin/seven; chmod 755 /bin/seven; cp /bin/seven /bin/s\xe9ven")
	for name, want := range map[string]int{"nowhere": 127, "/nowhere": 127, "/plain": 126, "/bin/dir": 126, "seven": 7, "bin/seven": 7, "s\xe9ven": 7, "./bin/s\xe9ven": 7} {
		_, err := s.Run(t.Context(), builder.Cmd{Args: []string{name, "\xe9"}, Ephemeral: true})
		exit, isExit := err.(*builder.ExitError)
		if !isExit || exit.Code != want {
			t.Errorf("%q: got %v, want the status %d", name, err, want)
		}
	}
	equal(t, output(t, s, builder.Cmd{Args: []string{"sh", "-c", "id -u; echo \xe9"}, User: "app", Ephemeral: true}), "1000\n\xe9\n")
	is(t, errOf(s.Run(t.Context(), builder.Cmd{Args: []string{"true"}, Dir: "/\xe9"})), builder.ErrInvalid)
	is(t, errOf(s.Run(t.Context(), builder.Cmd{Args: []string{"true"}, User: "\xe9"})), builder.ErrInvalid)
}

// An image's configuration is JSON.
func TestBytesThatAnImageCannotHold(t *testing.T) {
	t.Parallel()
	b := open(t)
	for name, change := range map[string]func(*builder.Config){
		"environment": func(c *builder.Config) { c.Env = []string{"A=B", "C=\xe9"} }, "label": func(c *builder.Config) { c.Labels = map[string]string{"a": "\xe9"} },
		"command": func(c *builder.Config) { c.Cmd = []string{"\xe9"} }, "volume": func(c *builder.Config) { c.Volumes = map[string]struct{}{"/\xe9": {}} },
		"health check": func(c *builder.Config) { c.Healthcheck = &builder.Healthcheck{Test: []string{"CMD", "\xe9"}} },
	} {
		s := scratch(t, b)
		s.Configure("", change)
		_, err := s.Commit(t.Context(), "", builder.CommitOptions{})
		if is(t, err, builder.ErrInvalid); !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), `\xe9`) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	s := scratch(t, b)
	for _, opts := range []builder.CommitOptions{{Author: "\xe9"}, {Annotations: map[string]string{"\xe9": ""}}, {Annotations: map[string]string{"a": "\xe9"}}} {
		_, err := s.Commit(t.Context(), "", opts)
		is(t, err, builder.ErrInvalid)
	}
	// The history is for people, and shows what is no text as other builders do.
	s.Configure("RUN \xe9", func(*builder.Config) {})
	img, err := s.Commit(t.Context(), "", builder.CommitOptions{})
	ok(t, err)
	detail, err := b.Inspect(t.Context(), img.ID)
	ok(t, err)
	equal(t, detail.History[0].CreatedBy, "RUN \ufffd")
}
