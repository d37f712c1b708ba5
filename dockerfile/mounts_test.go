package dockerfile

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/limits"
)

// counted are secrets that note which of them is asked for.
type counted struct {
	values map[string]string
	asked  []string
}

func (c *counted) Secret(_ context.Context, id string) ([]byte, error) {
	c.asked = append(c.asked, id)
	switch value, ok := c.values[id]; {
	case !ok:
		return nil, ErrNoSecret
	case value == "broken":
		return nil, errors.New("the vault is closed")
	default:
		return []byte(value), nil
	}
}

// TestMountsOfRun checks what builder is given for the mounts of a RUN.
func TestMountsOfRun(t *testing.T) {
	var dir string
	text := "FROM base AS one\nFROM base\nWORKDIR /w\nARG V=x\nRUN " + strings.Join([]string{
		"--mount=target=in,source=/a[b]/*?", "--mount=type=bind,from=one,source=./c/$V,target=/o,rw", "--mount=from=tool,target=/i", "--mount=type=bind,from=dir,target=/n",
		"--mount=type=cache,target=k,sharing=locked,mode=0700,uid=1,gid=2", "--mount=type=cache,target=/p,source=/a/b", "--mount=type=cache,id=i,target=/l,ro,from=one,source=seed",
		"--mount=type=tmpfs,target=/t,size=1k", "--mount=type=secret,id=s,mode=0444", "--mount=type=secret,id=s,env=S", "--mount=type=secret,id=other",
		"--mount=type=ssh,id=k,uid=5", "--mount=type=ssh",
	}, " ") + " x\n"
	f := mustBuild(t, text, func(_ *fake, o *Options) {
		dir = t.TempDir()
		o.Context.Named = map[string]string{"dir": dir}
		o.Run = RunOptions{Volumes: []builder.Mount{{Target: "/v", From: builder.Dir(dir), ReadOnly: true}}, Mounts: []string{"type=tmpfs,target=/each"}}
		o.Credentials = Credentials{Secrets: &counted{values: map[string]string{"s": "swordfish"}}, SSH: map[string]Agent{"k": {Keys: []string{"/key"}}}}
		o.Steps.Jobs = 1
	})
	var got []string
	for _, m := range f.mounts[0] {
		line := m.Target
		if m.ReadOnly {
			line += " ro"
		}
		if m.From != nil {
			at := map[bool]string{true: "named"}[m.From.Dir == dir]
			line += fmt.Sprintf(" from %s%s%s%q", at, m.From.Stage, m.From.Image, m.From.Patterns)
		}
		switch {
		case m.Cache != nil:
			line += fmt.Sprintf(" cache %+v", *m.Cache)
		case m.Tmpfs != nil:
			line += fmt.Sprintf(" tmpfs %d", m.Tmpfs.Size)
		case m.Secret != nil:
			line += fmt.Sprintf(" secret %q %#o", m.Secret.Env, m.Secret.Mode)
		case m.SSH != nil:
			line += fmt.Sprintf(" ssh %q %d", m.SSH.Keys, m.SSH.UID)
		}
		got = append(got, line)
	}
	equal(t, "mounts", got, []string{
		`/v ro from named[]`, `/each tmpfs 0`,
		`/w/in ro from ["a\\[b]/\\*\\?"]`, `/o from one["c/x"]`, `/i ro from tool[]`, `/n ro from named[]`,
		`/w/k cache {ID:k Path:. Sharing:locked Mode:-rwx------ UID:1 GID:2}`, `/p cache {ID:/p Path:a/b Sharing: Mode:---------- UID:0 GID:0}`, `/l ro from one["seed"] cache {ID:i Path: Sharing: Mode:---------- UID:0 GID:0}`,
		`/t tmpfs 1024`, `/run/secrets/s secret "" 0444`, ` secret "S" 0`, `/run/buildkit/ssh_agent.0 ssh ["/key"] 5`,
	})
}

// TestGivenFirst checks that what the caller has not given is an error with its line before anything
// is done, and what need not be given is none.
func TestGivenFirst(t *testing.T) {
	dir := t.TempDir()
	live, dead := filepath.Join(dir, "live"), filepath.Join(dir, "dead")
	listener, err := net.Listen("unix", live)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	gone, err := net.Listen("unix", dead)
	if err != nil {
		t.Fatal(err)
	}
	gone.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	agents := map[string]Agent{"default": {Socket: live}, "dead": {Socket: dead}, "none": {Socket: filepath.Join(dir, "none")}, "keys": {Keys: []string{"key"}}}
	secrets := map[string]string{"s": "x", "empty": "", "whole": strings.Repeat("x", limits.MaxSecret), "large": strings.Repeat("x", limits.MaxSecret+1), "bad": "broken"}
	tests := []struct{ mount, says, hint string }{
		{"type=secret,id=s,required", "", ""},
		{"type=secret,id=empty,required", "", ""},
		{"type=secret,id=whole", "", ""},
		{"type=secret,id=other", "", ""},
		{"type=secret,id=other,required=true", "secret other: no such secret, and it is required", "--secret id=other,src=FILE"},
		{"type=secret,id=$S,required=true", "secret of-arg: no such secret", "--secret id=of-arg"},
		{"type=secret,id=$T,required=true", "secret of-base: no such secret", "--secret id=of-base"}, // which is known late
		{"type=secret,id=large", "secret large: it is larger than 512000 bytes, which is the limit", ""},
		{"type=secret,id=bad", "secret bad: the vault is closed", ""},
		{"type=ssh", "", ""},
		{"type=ssh,required", "", ""},
		{"type=ssh,id=keys", "", ""},
		{"type=ssh,id=other", "", ""},
		{"type=ssh,id=other,required", "there is no ssh agent other, and it is required", "--ssh other"},
		{"type=ssh,id=dead", "the ssh agent dead does not answer: dial unix " + dead, "--ssh dead=SOCKET"},
		{"type=ssh,id=none", "the ssh agent none does not answer", ""},
	}
	for _, tt := range tests {
		t.Run(tt.mount, func(t *testing.T) {
			text := "FROM base AS unused\nRUN --mount=type=secret,id=nobody,required --mount=type=ssh,id=nobody,required x\n" +
				"FROM env\nARG S=of-arg\nRUN --mount=" + tt.mount + " x\n"
			f, err := buildText(t, text, func(f *fake, o *Options) {
				f.images["env"] = builder.Config{Env: []string{"T=of-base"}}
				o.Credentials = Credentials{Secrets: &counted{values: secrets}, SSH: agents}
				o.remember()
			})
			if tt.says == "" {
				if err != nil || len(f.cmds) != 1 {
					t.Fatalf("%v, %d commands", err, len(f.cmds))
				}
				return
			}
			var e *Error
			if !errors.As(err, &e) || e.Line != 5 || !strings.Contains(e.Error(), tt.says) || !strings.Contains(e.Hint, tt.hint) {
				t.Fatalf("%v, hint %q", err, e.Hint)
			}
			if len(f.cmds) > 0 || len(f.log) > 0 && !strings.Contains(tt.mount, "$T") {
				t.Errorf("done before: %q", f.log)
			}
			if errors.Is(err, ErrNoSecret) != strings.Contains(tt.says, "no such secret") {
				t.Errorf("the error is one of no secret: %v", err)
			}
		})
	}
}

// TestSecretsAreAskedOnce: the file of a secret may be a pipe.
func TestSecretsAreAskedOnce(t *testing.T) {
	secrets := &counted{values: map[string]string{"a": "1", "empty": ""}}
	opts := Options{Credentials: Credentials{Secrets: secrets}}
	opts.remember()
	for range 3 {
		for id, want := range map[string]string{"a": "1", "empty": "", "none": ""} {
			value, err := opts.Credentials.secret(t.Context(), id)
			if string(value) != want || errors.Is(err, ErrNoSecret) != (id == "none") {
				t.Errorf("%s is %q, %v", id, value, err)
			}
		}
	}
	slices.Sort(secrets.asked)
	if want := []string{"a", "empty", "none"}; !slices.Equal(secrets.asked, want) {
		t.Errorf("asked for %q, want %q", secrets.asked, want)
	}
	if _, err := (Credentials{}).secret(t.Context(), "a"); !errors.Is(err, ErrNoSecret) {
		t.Errorf("without any: %v", err)
	}
}

// TestMountsNeedStages checks that a RUN waits for all stages that it mounts, those of triggers, too,
// and that a stage only mounted from is built.
func TestMountsNeedStages(t *testing.T) {
	const text = "FROM base AS a\nRUN a\nFROM base AS b\nRUN b\nFROM base AS unused\nRUN unused\nFROM base AS c\nRUN c\nFROM trig AS me\nRUN --mount=from=a,target=/a --mount=from=1,target=/b d\n"
	f := mustBuild(t, text, func(f *fake, o *Options) {
		f.images["trig"] = builder.Config{Env: []string{"PATH=/bin"}, OnBuild: []string{"RUN --mount=from=c,target=/c --mount=type=bind,target=/d t"}}
	})
	var got []string
	for _, line := range f.log {
		if strings.Contains(line, "RUN") {
			got = append(got, strings.TrimPrefix(line[strings.Index(line, "RUN")+4:], "/bin/sh -c "))
		}
	}
	equal(t, "commands", got, []string{"a", "b", "c", "t", "d"})
}

// TestMountWithoutContext is found in a trigger of the base, too.
func TestMountWithoutContext(t *testing.T) {
	f := &fake{images: map[string]builder.Config{"base": {OnBuild: []string{"RUN --mount=target=/d t"}}}}
	file := filepath.Join(t.TempDir(), "Dockerfile")
	if err := os.WriteFile(file, []byte("FROM base\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	_, err = Build(t.Context(), f.builder(t), Options{File: File{Text: in}})
	var e *Error
	if !errors.As(err, &e) || e.Line != 1 || !strings.Contains(e.Error(), "no build context to mount") {
		t.Error(err)
	}
}

// TestMountOfTheOptions: a mount that cannot be is told at once, and where one meets an instruction's,
// at that.
func TestMountOfTheOptions(t *testing.T) {
	opts := Options{Context: Context{Dir: t.TempDir()}, Run: RunOptions{Mounts: []string{"type=cache,taget=/x"}}}
	_, err := Build(t.Context(), nil, opts)
	if !errors.Is(err, builder.ErrInvalid) || !strings.Contains(err.Error(), `--mount=type=cache,taget=/x: the key "taget"`) {
		t.Error(err)
	}
	_, err = buildText(t, "FROM base\nRUN --mount=target=/x/ x\n", func(_ *fake, o *Options) { o.Run.Mounts = []string{"type=tmpfs,target=/x"} })
	var e *Error
	if !errors.As(err, &e) || e.Line != 2 || !strings.Contains(e.Error(), "two mounts have the target /x") {
		t.Error(err)
	}
}
