package dockerfile

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/buildertest"
)

func TestStages(t *testing.T) {
	tests := []struct {
		name, text, target string
		want               []string
	}{{
		name: "multi-stage with names",
		text: "FROM base AS common\nRUN one\nFROM common AS Build\nCOPY *.go ./\nRUN go build\nFROM common\nCOPY --from=bUILD /out /out\n",
		want: []string{
			"common: FROM base", "common: RUN /bin/sh -c one",
			"build: FORK common", "build: COPY *.go -> /", "build: RUN /bin/sh -c go build",
			"2: FORK common", "2: COPY from build out -> /out", "2: COMMIT out",
		},
	}, {
		name: "unused stages are left out",
		text: "FROM base AS a\nRUN a\nFROM tool AS unused\nRUN b\nFROM scratch\nCOPY --from=a /x /x\n",
		want: []string{"a: FROM base", "a: RUN /bin/sh -c a", "2: FROM scratch", "2: COPY from a x -> /x", "2: COMMIT out"},
	}, {
		name: "target by name in any case", target: "A",
		text: "FROM base AS a\nRUN a\nFROM tool\nRUN b\n",
		want: []string{"a: FROM base", "a: RUN /bin/sh -c a", "a: COMMIT out"},
	}, {
		name: "target by index", target: "0",
		text: "FROM base\nRUN a\nFROM tool\nRUN b\n",
		want: []string{"0: FROM base", "0: RUN /bin/sh -c a", "0: COMMIT out"},
	}, {
		name: "copy from an index",
		text: "FROM base\nFROM tool\nWORKDIR app\nCOPY --from=0 /a b\n",
		want: []string{"0: FROM base", "1: FROM tool", "1: WORKDIR /app", "1: COPY from 0 a -> /app/b", "1: COMMIT out"},
	}, {
		name: "an image is opened once however often it is copied from",
		text: "FROM base\nCOPY --from=tool /a /a\nCOPY --from=tool /b /b\n",
		want: []string{"tool: FROM tool", "0: FROM base", "0: COPY from tool a -> /a", "0: COPY from tool b -> /b", "0: COMMIT out"},
	}, {
		name: "the base may come from an argument of the header",
		text: "ARG IMG=tool\nFROM ${IMG}\n",
		want: []string{"0: FROM tool", "0: COMMIT out"},
	}, {
		name: "the base may be an index",
		text: "FROM tool\nFROM base\nARG N=0\nFROM 0\n",
		want: []string{"0: FROM tool", "2: FORK 0", "2: COMMIT out"},
	}, {
		name: "variables say what is copied from",
		text: "ARG I=to S=0\nFROM base AS x\nARG I T=ol\nENV U=$I$T\nFROM x\nARG V=x\nCOPY --from=${U} /a /a\nCOPY --from=$V /b /b\nCOPY --from=$S /c /c\n",
		want: []string{
			"x: FROM base", "tool: FROM tool",
			"1: FORK x", "1: COPY from tool a -> /a", "1: COPY from x b -> /b", "1: COPY from x c -> /c", "1: COMMIT out",
		},
	}, {
		name: "a stage hides an image of its name",
		text: "FROM base AS tool\nFROM Tool\n",
		want: []string{"tool: FROM base", "1: FORK tool", "1: COMMIT out"},
	}, {
		name: "a stage may have its image's name",
		text: "FROM base AS base\nRUN x\n",
		want: []string{"base: FROM base", "base: RUN /bin/sh -c x", "base: COMMIT out"},
	}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := mustBuild(t, tt.text, func(_ *fake, o *Options) { o.Target = tt.target })
			equal(t, "operations", f.log, tt.want)
		})
	}
}

func TestOnbuild(t *testing.T) {
	tests := []struct {
		name, text string
		images     map[string]builder.Config
		want       []string // operations
		onbuild    []string // of the result
	}{{
		name: "of a stage, run in the child and not in the grandchild",
		text: "FROM base AS a\nONBUILD RUN trigger\nONBUILD WORKDIR sub\nFROM a AS b\nRUN b\nFROM b\n",
		want: []string{
			"a: FROM base", "b: FORK a", "b: RUN /bin/sh -c trigger", "b: WORKDIR /sub",
			"b: RUN /bin/sh -c b", "2: FORK b", "2: COMMIT out",
		},
	}, {
		name:    "stored as written",
		text:    "FROM base\nONBUILD   COPY --chown=$U   . /app\nonbuild RUN a \\\n  b\n",
		want:    []string{"0: FROM base", "0: COMMIT out"},
		onbuild: []string{"COPY --chown=$U   . /app", "RUN a   b"},
	}, {
		name:   "of an image, before the stage's own",
		text:   "FROM trig\nRUN own\n",
		images: map[string]builder.Config{"trig": {OnBuild: []string{"COPY . /app", "RUN make"}}},
		want:   []string{"0: FROM trig", "0: COPY . -> /app", "0: RUN /bin/sh -c make", "0: RUN /bin/sh -c own", "0: COMMIT out"},
	}, {
		name:   "of an image, copying from a stage that nothing else needs",
		text:   "FROM base AS assets\nRUN assets\nFROM trig\n",
		images: map[string]builder.Config{"trig": {OnBuild: []string{"COPY --from=assets /a /a"}}},
		want: []string{
			"1: FROM trig", "assets: FROM base", "assets: RUN /bin/sh -c assets",
			"1: COPY from assets a -> /a", "1: COMMIT out",
		},
	}, {
		name:   "of an image, copying from an image",
		text:   "FROM trig\n",
		images: map[string]builder.Config{"trig": {OnBuild: []string{"COPY --from=tool /a /a"}}},
		want:   []string{"0: FROM trig", "tool: FROM tool", "0: COPY from tool a -> /a", "0: COMMIT out"},
	}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := mustBuild(t, tt.text, func(f *fake, _ *Options) {
				for name, config := range tt.images {
					f.images[name] = config
				}
			})
			equal(t, "operations", f.log, tt.want)
			equal(t, "triggers", f.target.config.OnBuild, tt.onbuild)
		})
	}
}

func TestParallelStages(t *testing.T) {
	// Each stage's RUN waits for the other's: only side by side can they end.
	var both sync.WaitGroup
	both.Add(2)
	f := mustBuild(t, "FROM base AS a\nRUN wait\nFROM base AS b\nRUN wait\nFROM scratch\nCOPY --from=a / /\nCOPY --from=b / /\n",
		func(f *fake, o *Options) {
			o.Steps.Jobs = 2
			f.hold = func(line string) {
				if strings.HasSuffix(line, "wait") {
					both.Done()
					both.Wait()
				}
			}
		})
	if len(f.log) != 8 {
		t.Errorf("operations: %q", f.log)
	}
}

// FROM --after builds a stage that nothing else needs, before the image is looked for.
func TestFromAfter(t *testing.T) {
	f := mustBuild(t, "FROM base AS one\nRUN slow\nFROM base AS unused\nFROM base AS two\nRUN x\nFROM --after=ONE --after=2 --platform=$BUILDPLATFORM tool\n",
		func(f *fake, o *Options) {
			o.Steps.Jobs = 3
			f.hold = func(line string) {
				if strings.HasSuffix(line, "slow") {
					time.Sleep(50 * time.Millisecond)
				}
			}
		})
	if last := f.log[len(f.log)-2:]; len(f.log) != 6 || last[0] != "3: FROM tool" {
		t.Errorf("operations: %q", f.log)
	}
}

func TestJobsBound(t *testing.T) {
	var mu sync.Mutex
	var once sync.Once
	two := make(chan struct{})
	running, most := 0, 0
	text := "FROM scratch AS z\n"
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		text += "FROM base AS " + name + "\nRUN x\n"
	}
	text += "FROM base\n"
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		text += "COPY --from=" + name + " / /\n"
	}
	mustBuild(t, text, func(f *fake, o *Options) {
		o.Steps.Jobs = 2
		f.hold = func(line string) {
			mu.Lock()
			running++
			most = max(most, running)
			if running == 2 {
				once.Do(func() { close(two) })
			}
			mu.Unlock()
			time.Sleep(time.Millisecond)
			select { // the first waits for a second one, however late that comes
			case <-two:
			case <-time.After(time.Minute):
			}
			mu.Lock()
			running--
			mu.Unlock()
		}
	})
	if most != 2 {
		t.Errorf("at most %d operations ran at once, want 2", most)
	}
}

func TestFirstErrorEndsTheOthers(t *testing.T) {
	stopped := make(chan struct{})
	f, err := buildText(t, "FROM base AS a\nRUN slow\nRUN never\nFROM base AS b\nRUN bad\nFROM scratch\nCOPY --from=a / /\nCOPY --from=b / /\n",
		func(f *fake, o *Options) {
			o.Steps.Jobs = 2
			f.fail = map[string]error{"b: RUN /bin/sh -c bad": &builder.ExitError{Args: []string{"bad"}, Code: 7}}
			o.Progress = func(e Event) {
				if e.Kind == StepFinished && e.Err != nil && e.Instruction == "RUN bad" {
					close(stopped)
				}
			}
			f.run = func(ctx context.Context, cmd builder.Cmd) {
				if cmd.Args[len(cmd.Args)-1] == "slow" {
					<-stopped
					<-ctx.Done()
				}
			}
		})
	var exit *builder.ExitError
	if !errors.As(err, &exit) || exit.Code != 7 {
		t.Fatalf("error %v, want the exit status 7", err)
	}
	var located *Error
	if !errors.As(err, &located) || located.Line != 5 || !strings.Contains(located.Excerpt, "   5 | >>> RUN bad\n") {
		t.Errorf("error %#v", located)
	}
	if slices.ContainsFunc(f.log, func(l string) bool { return strings.Contains(l, "never") || strings.Contains(l, "COMMIT") }) {
		t.Errorf("operations after the failure: %q", f.log)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	f := &fake{images: map[string]builder.Config{"base": {}}}
	f.hold = func(line string) {
		if strings.HasSuffix(line, "x") {
			cancel()
		}
	}
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "Dockerfile"), "FROM base AS a\nRUN x\nFROM base\nRUN y\nCOPY --from=a / /\n")
	_, err := Build(ctx, f.builder(t), Options{Context: Context{Dir: dir}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of the context", err)
	}
	if f.open != 0 {
		t.Errorf("%d stages left open", f.open)
	}
}

func TestCommit(t *testing.T) {
	f := mustBuild(t, "FROM base\nMAINTAINER Ann\nLABEL a=1 b=2\n", func(_ *fake, o *Options) {
		o.Image.Names = []string{"one", "two", "three"}
		o.Image.Format = "docker"
		o.Image.Labels = map[string]string{"b": "3", "c": "4"}
	})
	commit := f.commits[0]
	equal(t, "names", commit.Names, []string{"one", "two", "three"})
	if commit.Format != "docker" || f.target.author != "Ann" {
		t.Errorf("commit %+v", commit)
	}
	labels := f.target.config.Labels
	if len(labels) != 3 || labels["a"] != "1" || labels["b"] != "3" || labels["c"] != "4" {
		t.Errorf("labels %v", labels)
	}
}

func TestMaintainerIsInherited(t *testing.T) {
	f := mustBuild(t, "FROM base AS a\nMAINTAINER Ann\nFROM a\n", nil)
	if f.target.author != "Ann" {
		t.Errorf("author %q", f.target.author)
	}
}

func TestBuildReadsTheContext(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "Containerfile"), "FROM base\nCOPY --exclude=*.md . /app\n")
	writeFile(t, filepath.Join(dir, ".dockerignore"), "# secret\n*.key\n!a.key\n")
	f := &fake{images: map[string]builder.Config{"base": {}}}
	img, err := Build(t.Context(), f.builder(t), Options{Context: Context{Dir: dir}})
	if err != nil || img.ID == "" {
		t.Fatalf("image %v, error %v", img, err)
	}
	want := buildertest.Source{Dir: dir, Ignore: []string{"*.key", "!a.key"}, Patterns: []string{"."}, Exclude: []string{"*.md"}}
	if got := f.copies[0].Sources; len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("copied %+v, want %+v", got, want)
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
