//go:build linux

package conformance

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oakum-build/oakum/hack/internal/home"
	"github.com/oakum-build/oakum/hack/internal/imagetree"
)

var update = flag.Bool("update", false, "write what oakum makes to want/ of the cases that have or need it")

// timeLimit is for one command of a case.
const timeLimit = 5 * time.Minute

// TestConformance builds each case with oakum and with buildah, and compares.
func TestConformance(t *testing.T) {
	cases, err := Load(os.DirFS("testdata"))
	if err != nil {
		t.Error(err)
	}
	w := newWorld(t)
	t.Run("cases", func(t *testing.T) {
		for _, c := range cases {
			t.Run(c.Name, func(t *testing.T) {
				t.Parallel()
				r := &run{Case: c, world: w, t: t, dir: filepath.Join(w.cases, c.Name, "dir")}
				r.do()
			})
		}
	})
}

// A run is a case while it is tested.
type run struct {
	*Case
	*world
	t   *testing.T
	dir string // the builders' working directory, where the case's files are
}

func (r *run) do() {
	r.prepare()
	oakum := r.build("oakum")
	if strings.Contains(oakum.stderr, "panic: ") || strings.Contains(oakum.stderr, "goroutine ") {
		r.t.Fatalf("oakum panicked:\n%s", oakum.stderr)
	}
	r.checkEnd(oakum)
	if r.Warns != nil && !r.Warns.MatchString(oakum.stderr) {
		r.t.Errorf("oakum's messages do not match %q:\n%s", r.Warns, oakum.stderr)
	}
	var buildah ended
	if r.Buildah == "" {
		buildah = r.build("buildah")
		if failed := buildah.err != nil; failed != (r.Fails != nil) {
			r.t.Fatalf("buildah: %v\n%s", buildah.err, buildah.stderr)
		}
	}
	if _, ok := r.Want["stdout"]; ok {
		r.checkWanted(map[string]string{"stdout": strings.ReplaceAll(oakum.stdout, r.dir, "@DIR@")})
		return
	}
	if oakum.err != nil {
		return
	}
	image := r.export(r.made())
	r.checkWanted(map[string]string{"files": wantedFiles(image), "config": wantedConfig(image)})
	if r.Buildah == "" {
		r.checkSame(image, r.export(r.image("buildah")))
	}
}

// checkEnd checks whether oakum ended as the case says.
func (r *run) checkEnd(oakum ended) {
	var exit *exec.ExitError
	switch {
	case r.Fails == nil && r.Exit == 0 && oakum.err != nil:
		r.t.Fatalf("oakum: %v\n%s", oakum.err, oakum.stderr)
	case r.Exit != 0 && (!errors.As(oakum.err, &exit) || exit.ExitCode() != r.Exit):
		r.t.Fatalf("oakum: %v, want exit status %d\n%s", oakum.err, r.Exit, oakum.stderr)
	case r.Fails != nil && oakum.err == nil:
		r.t.Fatalf("oakum built it; it should fail with %q\n%s", r.Fails, oakum.stderr)
	case r.Fails != nil && !r.Fails.MatchString(oakum.stderr):
		r.t.Fatalf("oakum's error does not match %q:\n%s", r.Fails, oakum.stderr)
	}
}

// checkWanted compares with what the case holds, or writes it.
func (r *run) checkWanted(got map[string]string) {
	r.t.Helper()
	if *update {
		r.update(got)
		return
	}
	for name, text := range r.Want {
		if got[name] == text {
			continue
		}
		if name == "stdout" {
			r.t.Errorf("standard output\n%s\nwant\n%s", got[name], text)
			continue
		}
		g, err := parseWanted(got[name])
		w, errWant := parseWanted(text)
		if err := errors.Join(err, errWant); err != nil {
			r.t.Fatal(err)
		}
		for _, difference := range imagetree.CompareSettings(g, w) {
			r.t.Errorf("want/%s: %s", name, difference)
		}
	}
}

// update writes the parts of want/ that the case has, or all when it has none.
func (r *run) update(got map[string]string) {
	if len(r.Want) == 0 && r.Buildah == "" {
		return
	}
	for name := range got {
		if _, ok := r.Want[name]; len(r.Want) > 0 && !ok {
			delete(got, name)
		}
	}
	if err := os.WriteFile(filepath.Join("testdata", r.file), r.Update(got), 0o644); err != nil {
		r.t.Error(err)
	}
}

// checkSame compares with buildah's image.
func (r *run) checkSame(oakum, buildah *imagetree.Image) {
	r.t.Helper()
	allowed := []string{}
	for _, difference := range imagetree.Compare(oakum, buildah) {
		if _, ok := r.Differs[difference.Name]; ok {
			allowed = append(allowed, difference.Name)
			continue
		}
		r.t.Errorf("not as buildah's: %s", difference)
	}
	for name := range r.Differs {
		if !slices.Contains(allowed, name) {
			r.t.Errorf("%s does not differ", name)
		}
	}
}

// prepare writes the case's files and runs its setup.sh.
func (r *run) prepare() {
	setup, err := r.Write(r.dir, r.expand)
	if err != nil {
		r.t.Fatal(err)
	}
	if setup == "" {
		return
	}
	if e := r.command("", "sh", "-eu", setup); e.err != nil {
		r.t.Fatalf("setup.sh: %v\n%s%s", e.err, e.stdout, e.stderr)
	}
}

// expand replaces the words that README.md lists.
func (r *run) expand(text string) string {
	return Words{Dir: r.dir, URL: r.url + "/" + r.Name + "/dir", Registry: r.registry, User: os.Getuid()}.Expand(text)
}

// image names what a builder makes of the case.
func (r *run) image(builder string) string {
	return "localhost/" + strings.ToLower(r.Name) + ":" + builder
}

// made is what to call what oakum has made.
func (r *run) made() string {
	name := r.image("oakum")
	if r.Index == "" {
		return name
	}
	e := r.command("", r.oakum, "inspect", "--platform", r.Index, "--format", "@{{.Id}}", name)
	if e.err != nil {
		r.t.Fatalf("oakum inspect: %v\n%s", e.err, e.stderr)
	}
	return strings.TrimSpace(e.stdout)
}

// build builds the case's base, if it has one, and the case with one of the builders.
func (r *run) build(builder string) ended {
	r.t.Helper()
	command := map[string][]string{
		"oakum":   {r.oakum, "build"},
		"buildah": append([]string{"buildah"}, append(home.BuildahArgs("docker"), "--pull=false")...),
	}[builder]
	base, err := r.Base(r.dir, r.image(builder)+"-base", r.expand)
	if err != nil {
		r.t.Fatal(err)
	}
	if base != nil {
		if e := r.command("", slices.Concat(command, base)...); e.err != nil {
			r.t.Fatalf("%s of Dockerfile.base: %v\n%s", builder, e.err, e.stderr)
		}
	}
	own := map[string][]string{"oakum": r.OakumArgs, "buildah": r.BuildahArgs}[builder]
	return r.command(r.Stdin, slices.Concat(command, []string{"-t", r.image(builder)}, r.Arguments(own, r.expand))...)
}

// ended is what a command did.
type ended struct {
	stdout, stderr string
	err            error
}

// command runs a command in the case's directory. stdin is the name of a file there.
func (r *run) command(stdin string, args ...string) ended {
	ctx, stop := context.WithTimeout(context.Background(), timeLimit)
	defer stop()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env, cmd.Dir, cmd.WaitDelay = r.env, r.dir, time.Minute
	for _, variable := range r.Env {
		cmd.Env = append(slices.Clip(cmd.Env), r.expand(variable))
	}
	if stdin != "" {
		file, err := os.Open(filepath.Join(r.dir, stdin))
		if err != nil {
			r.t.Fatal(err)
		}
		defer file.Close()
		cmd.Stdin = file
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("took longer than %s: %w", timeLimit, err)
	}
	return ended{out.String(), errs.String(), err}
}

// export reads an image of the store.
func (r *run) export(name string) *imagetree.Image {
	r.t.Helper()
	image, err := r.read(name, r.bases...)
	if err != nil {
		r.t.Fatalf("%s: %v", name, err)
	}
	return image
}
