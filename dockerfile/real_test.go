package dockerfile_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/dockerfile"
)

// busybox is Debian's static one, which hack/deps installs.
const busybox = "/bin/busybox"

// open opens a Builder on a store of its own.
func open(t *testing.T) *builder.Builder {
	t.Helper()
	return openWith(t, builder.Options{})
}

// openWith is open with further options.
func openWith(t *testing.T, opts builder.Options) *builder.Builder {
	t.Helper()
	dir, err := os.MkdirTemp("", "oakum-store-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// An ordinary user's store has files of subordinate ids.
		remove := exec.Command("rm", "-rf", dir)
		if os.Geteuid() != 0 {
			remove = exec.Command("unshare", "--map-auto", "--map-root-user", "--setuid", "0", "--setgid", "0", "rm", "-rf", dir)
		}
		if out, err := remove.CombinedOutput(); err != nil {
			t.Errorf("removing the store: %v: %s", err, out)
		}
	})
	opts.Root = dir
	b, err := builder.Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// contextDir is testdata/real with busybox in it.
func contextDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/real")); err != nil {
		t.Fatal(err)
	}
	bin, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatalf("%v; hack/deps installs busybox-static", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "busybox"), bin, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestBuild builds a Dockerfile that checks itself, twice: the second time, every
// step that makes a layer is in the cache.
func TestBuild(t *testing.T) {
	b := open(t)
	version, noProxy := "7", "localhost"
	ran := 0
	makesLayer := func(e dockerfile.Event) bool {
		instruction, isTrigger := strings.CutPrefix(e.Instruction, "ONBUILD ")
		if isTrigger && e.Stage == "base" {
			return false // the ONBUILD instruction itself
		}
		name, _, _ := strings.Cut(instruction, " ")
		return name == "COPY" || name == "RUN" || name == "WORKDIR"
	}
	opts := dockerfile.Options{
		Context:   dockerfile.Context{Dir: contextDir(t)},
		BuildArgs: map[string]*string{"VERSION": &version, "no_proxy": &noProxy},
		Image: dockerfile.Image{Names: []string{"localhost/real"},
			Labels: map[string]string{"by": "test"}},
		Progress: func(e dockerfile.Event) {
			if e.Kind == dockerfile.StepFinished && makesLayer(e) && !e.Cached {
				ran++
			}
			if e.Kind == dockerfile.Warning && (e.Rule == "" || e.Rule == "CommandCannotRun") {
				t.Errorf("warning: %s", e.Text)
			}
		},
	}
	first, err := dockerfile.Build(t.Context(), b, opts)
	if err != nil {
		t.Fatal(explained(err))
	}
	config := inspect(t, b, "localhost/real").Config
	want := builder.Config{
		Env:          []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "FROM_BASE=1"},
		ExposedPorts: map[string]struct{}{"80/tcp": {}, "81/tcp": {}},
		Entrypoint:   []string{"/bin/cat"}, Cmd: []string{"/from-tree"},
		WorkingDir: "/", Labels: map[string]string{"by": "test"}, Shell: []string{"/bin/sh", "-ec"},
	}
	if !reflect.DeepEqual(config, want) {
		t.Errorf("configuration:\n  %+v\nwant:\n  %+v", config, want)
	}
	if ran == 0 {
		t.Fatal("no step ran")
	}
	ran = 0
	second, err := dockerfile.Build(t.Context(), b, opts)
	if err != nil {
		t.Fatal(explained(err))
	}
	if ran != 0 {
		t.Errorf("%d steps ran again", ran)
	}
	if got, want := inspect(t, b, second.ID).Layers, inspect(t, b, first.ID).Layers; !reflect.DeepEqual(got, want) {
		t.Errorf("layers %v, want %v", got, want)
	}
}

// explained shows where a build failed.
func explained(err error) string {
	text := err.Error()
	var fault *dockerfile.Error
	if errors.As(err, &fault) {
		text += "\n" + fault.Excerpt
	}
	var exit *builder.ExitError
	if errors.As(err, &exit) {
		text += fmt.Sprintf("\n%s", exit.Output)
	}
	return text
}

func inspect(t *testing.T, b *builder.Builder, ref string) builder.ImageDetail {
	t.Helper()
	detail, err := b.Inspect(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	return detail
}

// TestBuildFails checks that a failed command is told with its place and its exit
// status, and leaves no image.
func TestBuildFails(t *testing.T) {
	b := open(t)
	dir := contextDir(t)
	file := filepath.Join(dir, "failing")
	text := "FROM scratch\nCOPY busybox /bin/sh\nRUN echo told >&2; exit 9\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := dockerfile.Build(t.Context(), b, dockerfile.Options{Context: dockerfile.Context{Dir: dir}, File: dockerfile.File{Path: file}, Image: dockerfile.Image{Names: []string{"localhost/failed"}}})
	var fault *dockerfile.Error
	var exit *builder.ExitError
	if !errors.As(err, &fault) || !errors.As(err, &exit) {
		t.Fatalf("error %v", err)
	}
	if fault.Line != 3 || exit.Code != 9 || string(exit.Output) != "told\n" {
		t.Errorf("line %d, exit status %d, output %q", fault.Line, exit.Code, exit.Output)
	}
	if images, err := b.Images(t.Context()); err != nil || len(images) != 0 {
		t.Errorf("images %v, %v", images, err)
	}
}

// Files that their owner may not read are read all the same, as COPY reads them: Dockerfiles,
// ignore files and those of directories that may not be listed.
func TestUnreadableFiles(t *testing.T) {
	t.Parallel()
	b := open(t)
	dir, other, out := t.TempDir(), t.TempDir(), t.TempDir()
	for name, text := range map[string]string{
		dir + "/Dockerfile":      "FROM scratch\nCOPY . /\nCOPY --from=other . /other/\n",
		dir + "/.dockerignore":   "gone\n",
		dir + "/gone":            "x",
		dir + "/kept":            "x",
		other + "/.dockerignore": "gone\n",
		other + "/gone":          "x",
		other + "/kept":          "x",
		out + "/df":              "FROM scratch\nCOPY kept /named\n",
		out + "/ignore":          "none\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o200); err != nil {
			t.Fatal(err)
		}
	}
	list := func(opts dockerfile.Options) string {
		t.Helper()
		img, err := dockerfile.Build(t.Context(), b, opts)
		if err != nil {
			t.Fatal(explained(err))
		}
		s, err := b.Stage(t.Context(), img.ID, builder.StageOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var there []string
		for _, name := range []string{"kept", "gone", "other/kept", "other/gone", "named"} {
			if _, err := s.ReadFile(t.Context(), name, 1); err == nil {
				there = append(there, name)
			}
		}
		return strings.Join(there, " ")
	}
	if got := list(dockerfile.Options{Context: dockerfile.Context{Dir: dir, Named: map[string]string{"other": other}}}); got != "kept other/kept" {
		t.Errorf("the image has %s", got)
	}
	if err := os.Chmod(dir, 0o300); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Error(err)
		}
	})
	if got := list(dockerfile.Options{Context: dockerfile.Context{Dir: dir, IgnoreFile: out + "/ignore"}, File: dockerfile.File{Path: out + "/df"}}); got != "named" {
		t.Errorf("the image has %s", got)
	}
	report, err := dockerfile.Check(t.Context(), dockerfile.Options{Context: dockerfile.Context{Dir: dir}, Open: func(context.Context) (*builder.Builder, error) { return b, nil }})
	if err != nil || len(report.Targets) != 1 {
		t.Errorf("check: %+v, %v", report, err)
	}
}
