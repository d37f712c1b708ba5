package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/buildertest"
)

// images are what the build starts from. Only what it looks at has to be there.
var images = map[string]buildertest.Image{
	"docker.io/library/golang:1.26":  {Config: builder.Config{Env: []string{"PATH=/usr/local/go/bin:/bin"}}},
	"docker.io/library/busybox:1.36": {},
}

// The build compiles the sources and takes the program alone into the image. No command is
// run: the compiler is a function of the test.
func TestBuild(t *testing.T) {
	compiler := func(_ context.Context, cmd builder.Cmd, files buildertest.Files) (int, error) {
		source, err := files.ReadFile("/src/hello.go")
		if err != nil || cmd.Dir != "/src" || !slices.Contains(cmd.Env, "CGO_ENABLED=0") {
			t.Errorf("%q in %s with %q: %v", cmd.Args, cmd.Dir, cmd.Env, err)
		}
		return 0, files.WriteFile(cmd.Args[slices.Index(cmd.Args, "-o")+1], []byte("compiled "+string(source[:12])), 0o755)
	}
	b := buildertest.New(t, buildertest.Options{Images: images, Run: compiler})
	img, err := build(t.Context(), b, "localhost/hello:v1")
	if err != nil {
		t.Fatal(err)
	}
	detail, err := b.Inspect(t.Context(), "localhost/hello:v1")
	if err != nil || detail.ID != img.ID || !slices.Equal(detail.Config.Cmd, []string{"/usr/local/bin/hello"}) {
		t.Errorf("got %+v, %v", detail, err)
	}
	made, err := b.Stage(t.Context(), img.ID, builder.StageOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer made.Close()
	program, err := made.ReadFile(t.Context(), "/usr/local/bin/hello", 100)
	if err != nil || !strings.HasPrefix(string(program), "compiled ") {
		t.Errorf("the program is %q: %v", program, err)
	}
	if _, err := made.ReadFile(t.Context(), "/src/hello.go", 1); !errors.Is(err, builder.ErrNotFound) {
		t.Errorf("the sources are in the image: %v", err)
	}
}

// A compiler that fails fails the build, and no image is made.
func TestBuildFails(t *testing.T) {
	b := buildertest.New(t, buildertest.Options{Images: images, Run: func(_ context.Context, cmd builder.Cmd, _ buildertest.Files) (int, error) {
		return 2, nil
	}})
	var exit *builder.ExitError
	if _, err := build(t.Context(), b, "hello"); !errors.As(err, &exit) || exit.Code != 2 {
		t.Errorf("got %v", err)
	}
	if all, err := b.Images(t.Context()); err != nil || slices.ContainsFunc(all, func(i builder.Image) bool { return slices.Contains(i.Names, "localhost/hello:latest") }) {
		t.Errorf("images %+v, %v", all, err)
	}
}
