package dockerfile_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/usage"
	"github.com/oakum-build/oakum/dockerfile"
)

// unreadText has stages that are only copied from: out of one another, and that says what
// its commands do.
const unreadText = `FROM scratch AS base
COPY busybox /busybox
COPY busybox /bin/sh
FROM base AS first
ARG V=1
WORKDIR /w
COPY in /w/
RUN echo first; read x <in; echo "$x" >out; read x </proc/sys/kernel/random/uuid; echo "$x" >id
FROM base AS second
COPY --from=first /w/out /mid
RUN echo second; read x <mid; echo "$x$x" >/got; read x </proc/sys/kernel/random/uuid; echo "$x" >id
FROM base
COPY --from=second /got /
RUN echo last; read x </got; echo "$x" >/last
COPY conf /conf
`

// After a prune, stages are built of which something is read, and no others.
func TestPrunedStages(t *testing.T) {
	t.Parallel()
	change := func(old, new string) func(*testing.T, *builder.Builder, *dockerfile.Options, *string) {
		return func(t *testing.T, _ *builder.Builder, _ *dockerfile.Options, text *string) {
			if !strings.Contains(*text, old) {
				t.Fatalf("no %q", old)
			}
			*text = strings.Replace(*text, old, new, 1)
		}
	}
	write := func(name, text string) func(*testing.T, *builder.Builder, *dockerfile.Options, *string) {
		return func(t *testing.T, _ *builder.Builder, opts *dockerfile.Options, _ *string) {
			if err := os.WriteFile(filepath.Join(opts.Context.Dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name   string
		change func(*testing.T, *builder.Builder, *dockerfile.Options, *string)
		ran    string // what wrote
		holds  string // what the files of the image, as far as they are there, are
		same   bool   // the image is
	}{
		{"nothing", change("", ""), "", "aa aa c", true},
		{"the last step", write("conf", "d\n"), "", "aa aa d", false},
		{"a command of the target", change("echo last", "echo last again"), "last again", "aa aa c", false},
		{"a configuration", change("COPY conf", "ENV A=b\nCOPY conf"), "", "aa aa c", false},
		{"what is below the copy", change("FROM base\n", "FROM base\nCOPY conf /etc/\n"), "first last second", "aa aa c", false},
		{"a command of a stage", change("echo first", "echo changed"), "changed second", "aa aa c", true},
		{"a file that a stage copies", write("in", "b\n"), "first last second", "bb bb c", false},
		{"another file of a stage", change("COPY conf", "COPY --from=second /mid /mid\nCOPY conf"), "first second", "a aa aa c", false},
		{"another file of the first", change("COPY conf", "COPY --from=first /w/out /mid\nCOPY conf"), "first second", "a aa aa c", false},
		{"a stage as the base", change("FROM base\nCOPY --from=second /got /\n", "FROM second\n"), "first last second", "a aa aa c", false},
		{"a stage as the target", func(_ *testing.T, _ *builder.Builder, opts *dockerfile.Options, _ *string) { opts.Target = "second" }, "first second", "a aa", false},
		{"no cache", func(_ *testing.T, _ *builder.Builder, opts *dockerfile.Options, _ *string) { opts.Steps.NoCache = true }, "first last second", "aa aa c", false},
		{"no cache for a stage", func(_ *testing.T, _ *builder.Builder, opts *dockerfile.Options, _ *string) {
			opts.Steps.NoCacheStages = []string{"first"}
		}, "first second", "aa aa c", true},
		{"an argument", func(_ *testing.T, _ *builder.Builder, opts *dockerfile.Options, _ *string) {
			v := "2"
			opts.BuildArgs = map[string]*string{"V": &v}
		}, "first second", "aa aa c", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, text := open(t), unreadText
			opts := dockerfile.Options{Context: dockerfile.Context{Dir: contextDir(t)}, Image: dockerfile.Image{Names: []string{"localhost/kept"}}}
			write("in", "a\n")(t, b, &opts, &text)
			write("conf", "c\n")(t, b, &opts, &text)
			before := build(t, b, text, opts)
			b = pruned(t, b)
			c.change(t, b, &opts, &text)
			var ran []string
			steps, total := 0, 0
			opts.Progress = func(e dockerfile.Event) {
				switch e.Kind {
				case dockerfile.StepOutput:
					ran = append(ran, strings.Fields(string(bytes.TrimSpace(e.Output)))...)
				case dockerfile.StepFinished:
					steps, total = steps+1, e.Total
					if c.ran == "" && strings.HasPrefix(e.Instruction, "RUN") && !e.Cached {
						t.Errorf("step not cached: %s", e.Instruction)
					}
				case dockerfile.Warning:
					if e.Rule == "" {
						t.Errorf("warning: %s", e.Text)
					}
				}
			}
			img := build(t, b, text, opts)
			slices.Sort(ran)
			want := strings.Fields(c.ran)
			slices.Sort(want)
			if !slices.Equal(ran, want) {
				t.Errorf("%q ran, want %q", ran, want)
			}
			if steps != total || total == 0 {
				t.Errorf("%d of %d steps were shown", steps, total)
			}
			if (img.ID == before.ID) != c.same {
				t.Errorf("image %s, before it was %s", img.ID, before.ID)
			}
			opts.Progress = nil
			inImage(t, b, img, "for f in /mid /got /last /conf; do read x <$f && printf '%s ' $x; done 2>/dev/null; true", c.holds+" ")
			if again := build(t, b, text, opts); !opts.Steps.NoCache && opts.Steps.NoCacheStages == nil && again.ID != img.ID {
				t.Errorf("built again, the image is %s, not %s", again.ID, img.ID)
			}
		})
	}
}

// pruned prunes a Builder's store with nothing of it in use, and gives another Builder.
func pruned(t *testing.T, b *builder.Builder) *builder.Builder {
	t.Helper()
	return prunedWith(t, b, builder.Options{})
}

func prunedWith(t *testing.T, b *builder.Builder, opts builder.Options) *builder.Builder {
	t.Helper()
	info, err := b.Info(t.Context())
	if err == nil {
		err = b.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	opts.Root = info.Root
	if b, err = builder.Open(t.Context(), opts); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	if _, err := b.Prune(t.Context(), usage.Options{}); err != nil {
		t.Fatal(err)
	}
	return b
}

// ranIn builds, and gives what the build's commands wrote.
func ranIn(t *testing.T, b *builder.Builder, text string, opts dockerfile.Options) (builder.Image, string) {
	t.Helper()
	var ran []string
	opts.Progress = func(e dockerfile.Event) {
		if e.Kind == dockerfile.StepOutput {
			ran = append(ran, strings.Fields(string(e.Output))...)
		}
	}
	img := build(t, b, text, opts)
	slices.Sort(ran)
	return img, strings.Join(ran, " ")
}

// Sources of all kinds are found after a prune.
func TestPrunedSources(t *testing.T) {
	t.Parallel()
	b := open(t)
	url := web(t, map[string]string{"/f": "f"}, map[string]map[string]string{"r": {"g": "g"}})
	opts := dockerfile.Options{Context: dockerfile.Context{Dir: contextDir(t), Named: map[string]string{"other": t.TempDir()}}, Image: dockerfile.Image{Names: []string{"localhost/kept"}}}
	if err := os.WriteFile(filepath.Join(opts.Context.Named["other"], "o"), []byte("o"), 0o644); err != nil {
		t.Fatal(err)
	}
	text := `FROM scratch AS base
COPY busybox /busybox
COPY busybox /bin/sh
FROM base AS from
RUN echo from; read x </proc/sys/kernel/random/uuid; echo "$x" >/id
FROM from AS built
ADD ` + url + `/f ` + url + `/r.git /d/
COPY <<here /d/
text
here
COPY --link --chown=1:1 --from=other o /d/
RUN echo built; read x </proc/sys/kernel/random/uuid; echo "$x" >/id
FROM base AS unneeded
RUN echo unneeded
FROM base
COPY --link --from=built /d /d
COPY --from=built --parents /./id /ids/
`
	before := build(t, b, text, opts)
	for range 2 {
		b = pruned(t, b)
		img, ran := ranIn(t, b, text, opts)
		if ran != "" || img.ID != before.ID {
			t.Errorf("%q ran; image %s, want %s", ran, img.ID, before.ID)
		}
	}
	img, ran := ranIn(t, b, text+"COPY --from=from /id /other\n", opts)
	if ran != "built from" || img.ID == before.ID {
		t.Errorf("%q ran; image %s", ran, img.ID)
	}
	if _, err := b.Remove(t.Context(), before.ID, builder.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	inImage(t, b, img, "cat /d/*; test -s /other && test -s /ids/id && echo ok", "fgtext", "ook")
	if _, err := b.Remove(t.Context(), img.ID, builder.RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	b = pruned(t, b)
	if remembers, err := b.Remembers(t.Context()); err != nil || remembers {
		t.Errorf("the cache still knows of layers that lead to nothing (%v)", err)
	}
	if _, ran = ranIn(t, b, text, opts); ran != "built from" {
		t.Errorf("%q ran without the image", ran)
	}
}

// What a server has can change while it is looked up what must be built.
func TestPrunedAndChanged(t *testing.T) {
	t.Parallel()
	b := open(t)
	var now atomic.Value
	now.Store(func() string { return "old" })
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, now.Load().(func() string)()) }))
	t.Cleanup(s.Close)
	opts := dockerfile.Options{Context: dockerfile.Context{Dir: contextDir(t)}, Image: dockerfile.Image{Names: []string{"localhost/kept"}}}
	text := `FROM scratch AS base
COPY busybox /busybox
COPY busybox /bin/sh
FROM base AS built
ADD ` + s.URL + `/f /f
RUN echo built
FROM base
COPY --from=built /f /f
`
	build(t, b, text, opts)
	b = pruned(t, b)
	var asked atomic.Int32
	now.Store(func() string {
		if asked.Add(1) == 1 {
			return "old"
		}
		return "new"
	})
	img, ran := ranIn(t, b, text, opts)
	if ran != "built" {
		t.Errorf("%q ran", ran)
	}
	inImage(t, b, img, "cat /f; echo", "new")
}

// After a prune, stages of which a cached RUN mounts something are not built, and those whose mounts are
// not in the cache are.
func TestPrunedMounts(t *testing.T) {
	t.Parallel()
	const text = `FROM scratch AS base
COPY busybox /busybox
COPY busybox /bin/sh
FROM base AS first
RUN echo first; echo a >/out; read x </proc/sys/kernel/random/uuid; echo "$x" >/id
FROM base AS second
RUN echo second; echo b >/out
FROM base
RUN --mount=from=first,source=/out,target=/in --mount=from=second,source=/out,target=/other echo last; read x </in; echo "$x" >/last
COPY conf /conf
`
	for _, c := range []struct{ name, old, new, ran string }{
		{"nothing", "", "", ""},
		{"the last step", "/conf\n", "/other\n", ""},
		{"the command", "echo last", "echo again", "again first second"},
		{"what is mounted", "source=/out", "source=/id", "first last second"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := open(t)
			opts := dockerfile.Options{Context: dockerfile.Context{Dir: contextDir(t)}, Image: dockerfile.Image{Names: []string{"localhost/kept"}}}
			if err := os.WriteFile(filepath.Join(opts.Context.Dir, "conf"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			build(t, b, text, opts)
			b = pruned(t, b)
			var ran []string
			opts.Progress = func(e dockerfile.Event) {
				if e.Kind == dockerfile.StepOutput {
					ran = append(ran, strings.Fields(string(e.Output))...)
				}
			}
			build(t, b, strings.Replace(text, c.old, c.new, 1), opts)
			slices.Sort(ran)
			if got := strings.Join(ran, " "); got != c.ran {
				t.Errorf("%q ran, want %q", got, c.ran)
			}
		})
	}
}
