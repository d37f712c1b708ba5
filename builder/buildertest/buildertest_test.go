package buildertest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/buildertest"
)

// shell does the few commands that the suite runs.
func shell(_ context.Context, cmd builder.Cmd, files buildertest.Files) (int, error) {
	if cmd.Args[0] != "sh" {
		return 0, fmt.Errorf("%s: %w", cmd.Args[0], fs.ErrNotExist)
	}
	for _, line := range strings.Split(cmd.Args[2], "; ") {
		words := strings.Fields(line)
		switch words[0] {
		case "echo":
			text := strings.Join(words[1:], " ")
			for _, entry := range cmd.Env {
				name, value, _ := strings.Cut(entry, "=")
				text = strings.ReplaceAll(text, "$"+name, value)
			}
			if said, file, ok := strings.Cut(text, " > "); ok {
				if err := files.WriteFile(file, []byte(said+"\n"), 0o644); err != nil {
					return 1, nil
				}
				continue
			}
			fmt.Fprintln(cmd.Stdout, text)
		case "cat":
			if len(words) == 1 {
				_, _ = io.Copy(cmd.Stdout, cmd.Stdin)
			}
			for _, name := range words[1:] {
				data, err := files.ReadFile(name)
				if err != nil {
					return 1, nil
				}
				_, _ = cmd.Stdout.Write(data)
			}
		case "rm":
			_ = files.RemoveAll(words[1])
		case "exit":
			return strconv.Atoi(words[1])
		}
	}
	return 0, nil
}

func TestSuite(t *testing.T) {
	const base = "docker.io/library/busybox:latest"
	buildertest.Suite(t, buildertest.Implementation{Base: "busybox", Open: func(t *testing.T, opts builder.Options) *builder.Builder {
		return buildertest.New(t, buildertest.Options{Builder: opts, Run: shell, Images: map[string]buildertest.Image{
			base: {Files: fstest.MapFS{"etc/passwd": {Data: []byte("root:x:0:0::/:/bin/sh\napp:x:7:8::/:/bin/sh\n")}}},
		}})
	}})
}

// Before sees each operation with what it takes, can fail it, and can take it for done.
func TestBefore(t *testing.T) {
	broken := errors.New("broken")
	var verbs []string
	b := buildertest.New(t, buildertest.Options{Run: shell, Before: func(op *buildertest.Operation) error {
		verbs = append(verbs, op.Stage+" "+op.Verb+" "+op.From+op.Dest)
		switch {
		case op.Dest == "/broken":
			return broken
		case op.Verb == "COPY":
			if len(op.Sources) != 1 || op.Sources[0].Chown != "7" || !slices.Equal(op.Sources[0].Patterns, []string{"none"}) {
				t.Errorf("sources %+v", op.Sources)
			}
			op.Done = true
		case op.Verb == "WORKDIR":
			return &builder.LayerError{Layer: "x", Err: errors.New("full")}
		case op.Verb == "RUN" && op.Cmd.Args[0] == "exits":
			return &builder.ExitError{Code: 3}
		case op.Verb == "RUN":
			op.Done = true
			if !slices.Contains(op.Cmd.Env, "A=1") || op.Cmd.Args[0] != "nothing" {
				t.Errorf("command %+v", op.Cmd)
			}
		}
		return nil
	}})
	s, err := b.Stage(t.Context(), builder.Scratch, builder.StageOptions{Name: "s"})
	if err != nil {
		t.Fatal(err)
	}
	s.Configure("", func(c *builder.Config) { c.Env = []string{"A=1"} })
	if _, err := s.Copy(t.Context(), "/x", builder.Dir(t.TempDir()).Select("none").Chown("7")); err != nil {
		t.Error(err)
	}
	if _, err := s.Run(t.Context(), builder.Cmd{Args: []string{"nothing"}}); err != nil {
		t.Error(err)
	}
	if _, err := s.Copy(t.Context(), "/broken", builder.Bytes("f", nil)); err == nil || err.Error() != "broken" {
		t.Errorf("got %v", err)
	}
	var exit *builder.ExitError
	if _, err := s.Run(t.Context(), builder.Cmd{Args: []string{"exits"}}); !errors.As(err, &exit) || exit.Code != 3 || exit.Args[0] != "exits" {
		t.Errorf("got %v", err)
	}
	var layer *builder.LayerError
	if _, err := s.Workdir(t.Context(), "/full", ""); !errors.As(err, &layer) || layer.Layer != "x" || err.Error() != "full" {
		t.Errorf("got %v", err)
	}
	fork, err := s.Fork(t.Context(), builder.StageOptions{Name: "f"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := fork.Commit(t.Context(), "x", builder.CommitOptions{}); err != nil {
		t.Error(err)
	}
	if want := []string{"s FROM scratch", "s COPY /x", "s RUN ", "s COPY /broken", "s RUN ", "s WORKDIR /full", "f FORK s", "s CLOSE ", "f COMMIT "}; !slices.Equal(verbs, want) {
		t.Errorf("operations %q, want %q", verbs, want)
	}
}

// What is not of this machine is what the options say.
func TestRemote(t *testing.T) {
	b := buildertest.New(t, buildertest.Options{
		Images: map[string]buildertest.Image{
			"example.com/down": {Err: fmt.Errorf("dial: %w", builder.ErrRegistry)},
			"example.com/up":   {Config: builder.Config{User: "app"}},
		},
		Remote: map[string]fs.FS{
			"https://example.com/f.txt":        fstest.MapFS{"f.txt": {Data: []byte("fetched")}},
			"https://example.com/r.git#v1:sub": fstest.MapFS{"a/b": {Data: []byte("of git")}},
		},
	})
	if _, err := b.Stage(t.Context(), "example.com/down", builder.StageOptions{}); !errors.Is(err, builder.ErrRegistry) {
		t.Errorf("a registry that is down: %v", err)
	}
	if _, err := b.Stage(t.Context(), "example.com/none", builder.StageOptions{}); !errors.Is(err, builder.ErrImageNotFound) {
		t.Errorf("no image: %v", err)
	}
	s, err := b.Stage(t.Context(), "example.com/up", builder.StageOptions{})
	if err != nil || s.Config().User != "app" {
		t.Fatal(s, err)
	}
	if _, err := s.Add(t.Context(), "/", builder.URL("https://example.com/f.txt")); err != nil {
		t.Error(err)
	}
	if _, err := s.Add(t.Context(), "/g", builder.Git("https://example.com/r.git#v1:sub")); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]string{"/f.txt": "fetched", "/g/a/b": "of git"} {
		if got, err := s.ReadFile(t.Context(), name, 100); string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := s.Add(t.Context(), "/", builder.URL("https://example.com/none")); !errors.Is(err, builder.ErrFetch) {
		t.Errorf("no such URL: %v", err)
	}
}

// No link leads out of the root, and none in circles is followed for ever.
func TestLinks(t *testing.T) {
	b := buildertest.New(t, buildertest.Options{})
	s, err := b.Stage(t.Context(), builder.Scratch, builder.StageOptions{})
	if err != nil {
		t.Fatal(err)
	}
	links := fstest.MapFS{"d/up": {Mode: fs.ModeSymlink, Data: []byte("../../../in")}, "abs": {Mode: fs.ModeSymlink, Data: []byte("/in")}, "loop": {Mode: fs.ModeSymlink, Data: []byte("loop")}, "in/f": {Data: []byte("f")}}
	if _, err := s.Copy(t.Context(), "/", builder.FS(links)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/d/up/f", "/abs/f", "/abs/../in/f"} {
		if got, err := s.ReadFile(t.Context(), name, 10); string(got) != "f" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := s.ReadFile(t.Context(), "/loop/x", 10); !errors.Is(err, builder.ErrInvalid) {
		t.Errorf("a loop: %v", err)
	}
	if _, err := s.Copy(t.Context(), "/abs/new", builder.Bytes("new", []byte("n"))); err != nil {
		t.Error(err)
	}
	if got, _ := s.ReadFile(t.Context(), "/in/new", 10); string(got) != "n" {
		t.Errorf("written through a link: %q", got)
	}
}
