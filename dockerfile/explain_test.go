package dockerfile_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/explain"
	"github.com/oakum-build/oakum/dockerfile"
	"github.com/oakum-build/oakum/dockerfile/forecast"
)

// explainText has a step of each kind, two stages, and arguments.
const explainText = `FROM scratch AS base
COPY busybox /bin/sh
FROM base AS made
ARG VERSION=1
ENV MODE=a
WORKDIR /w
COPY src /w/
RUN echo "$VERSION" >/w/out
FROM base
COPY --from=made /w/out /out
LABEL a=b
`

// explaining is a build of explainText in a store of its own.
type explaining struct {
	b    *builder.Builder
	opts dockerfile.Options
	text string
}

func newExplaining(t *testing.T) *explaining {
	t.Helper()
	dir := contextDir(t)
	write(t, filepath.Join(dir, "src", "one"), "1")
	write(t, filepath.Join(dir, "src", "two"), "2")
	return &explaining{b: open(t), opts: dockerfile.Options{Context: dockerfile.Context{Dir: dir}, Steps: dockerfile.Steps{Explain: true}}, text: explainText}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// words say what a step told.
func words(s *explain.Step) string {
	if s == nil {
		return ""
	}
	if s.Cached {
		return "hit"
	}
	text := []string{string(s.Cause)}
	for _, c := range s.Changes {
		text = append(text, strings.Join(strings.Fields(fmt.Sprintf("%s %s %s", c.Kind, c.Name, c.How)), " "))
	}
	return strings.Join(text, ", ")
}

// build builds, and gives what the steps told in the order of the stages.
func (e *explaining) build(t *testing.T) []string {
	t.Helper()
	told, measured := map[string]string{}, map[int]bool{}
	started := map[int]bool{}
	opts := e.opts
	opts.File = dockerfile.File{Text: strings.NewReader(e.text)}
	opts.Progress = func(ev dockerfile.Event) {
		switch ev.Kind {
		case dockerfile.StepStarted:
			started[ev.Step] = true
		case dockerfile.StepFinished:
			delete(started, ev.Step)
		case dockerfile.StepExplained:
			if started[ev.Step] {
				told[fmt.Sprintf("%02d %s", ev.Line, ev.Instruction)] = words(ev.Explained)
				return
			}
			if measured[ev.Step] = true; ev.Explained.Size < 1024 {
				t.Errorf("%s has %d bytes", ev.Instruction, ev.Explained.Size)
			}
		}
	}
	if _, err := dockerfile.Build(t.Context(), e.b, opts); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for what, how := range told {
		lines = append(lines, what+": "+how)
	}
	slices.Sort(lines)
	if len(measured) != len(told) {
		t.Errorf("%d steps of %d are measured", len(measured), len(told))
	}
	return lines
}

// forecast gives what a dry run says, in the same order. It must make no layer.
func (e *explaining) forecast(t *testing.T) []string {
	t.Helper()
	opts := e.opts
	opts.File = dockerfile.File{Text: strings.NewReader(e.text)}
	before, err := e.b.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	steps, err := dockerfile.DryRun(t.Context(), e.b, opts)
	if err != nil {
		t.Fatal(err)
	}
	after, err := e.b.Info(t.Context())
	if err != nil || after.Layers > before.Layers || after.Images != before.Images { // one that was being made may have gone
		t.Errorf("before there were %d layers, after %d: %v", before.Layers, after.Layers, err)
	}
	var lines []string
	for i, f := range steps {
		if f.Step != i+1 {
			t.Errorf("step %d is called %d", i+1, f.Step)
		}
		if f.Prospect == forecast.Unknown && f.Text == "" {
			t.Errorf("of %s it is not said why it is not known", f.Instruction)
		}
		how := string(f.Prospect)
		if f.Explained != nil && !f.Explained.Cached {
			how += ": " + words(f.Explained)
		}
		lines = append(lines, fmt.Sprintf("%02d %s", f.Line, how))
	}
	return lines
}

func lines(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	e := newExplaining(t)
	lines(t, e.forecast(t), "01 hit", "02 miss: new", "03 unknown", "04 setting", "05 setting", "06 unknown", "07 unknown", "08 unknown", "09 unknown", "10 unknown", "11 setting")
	lines(t, e.build(t),
		"02 COPY busybox /bin/sh: new", "06 WORKDIR /w: new", "07 COPY src /w/: new", `08 RUN echo "$VERSION" >/w/out: new`, "10 COPY --from=made /w/out /out: new")
	lines(t, e.forecast(t), "01 hit", "02 hit", "03 hit", "04 setting", "05 setting", "06 hit", "07 hit", "08 hit", "09 hit", "10 hit", "11 setting")
	lines(t, e.build(t),
		"02 COPY busybox /bin/sh: hit", "06 WORKDIR /w: hit", "07 COPY src /w/: hit", `08 RUN echo "$VERSION" >/w/out: hit`, "10 COPY --from=made /w/out /out: hit")

	two := "2"
	e.opts.BuildArgs = map[string]*string{"VERSION": &two}
	want := []string{"02 COPY busybox /bin/sh: hit", "06 WORKDIR /w: hit", "07 COPY src /w/: hit", `08 RUN echo "$VERSION" >/w/out: changed, argument VERSION`}
	lines(t, e.forecast(t), "01 hit", "02 hit", "03 hit", "04 setting", "05 setting", "06 hit", "07 hit", "08 miss: changed, argument VERSION", "09 hit", "10 unknown", "11 setting")
	lines(t, e.build(t), append(want, "10 COPY --from=made /w/out /out: changed, file w/out content")...)

	e.text = strings.Replace(e.text, "MODE=a", "MODE=b", 1)
	want[3] = `08 RUN echo "$VERSION" >/w/out: changed, variable MODE`
	lines(t, e.build(t), append(want, "10 COPY --from=made /w/out /out: hit")...)

	write(t, filepath.Join(e.opts.Context.Dir, "src", "one"), "changed")
	lines(t, e.forecast(t), "01 hit", "02 hit", "03 hit", "04 setting", "05 setting", "06 hit", "07 miss: changed, file src/one content", "08 unknown", "09 hit", "10 unknown", "11 setting")
	lines(t, e.build(t), want[0], want[1], "07 COPY src /w/: changed, file src/one content",
		`08 RUN echo "$VERSION" >/w/out: changed, parent COPY src /w/`, "10 COPY --from=made /w/out /out: hit")

	e.text = strings.Replace(e.text, "/w/out\nFROM", "/w/out; true\nFROM", 1)
	want[3] = `08 RUN echo "$VERSION" >/w/out; true: changed, setting command`
	lines(t, e.build(t), append(want, "10 COPY --from=made /w/out /out: hit")...)
}

// Of an instruction into which variables were put it is told which, when a part of it has changed.
func TestExplainVariables(t *testing.T) {
	t.Parallel()
	e := newExplaining(t)
	e.text = "FROM scratch\nARG FILE=one\nENV TO=/to\nCOPY src/$FILE src/one ${TO}/\nWORKDIR $TO/x\nCOPY src/two /\n"
	e.build(t)
	two := "two"
	e.opts.BuildArgs = map[string]*string{"FILE": &two}
	got := e.build(t)
	if want := "04 COPY src/$FILE src/one ${TO}/: changed, setting source 1 patterns with $FILE, $TO, file src/two new"; got[0] != want {
		t.Errorf("%q, want %q", got[0], want)
	}
	e.text = strings.Replace(e.text, "src/two /", "src/two /other", 1)
	got = e.build(t)
	if last := got[len(got)-1]; !strings.HasPrefix(last, "06 COPY src/two /other: changed, setting destination") || strings.Contains(last, "$") {
		t.Errorf("%q", last)
	}
}

// What is not known is told as that, and no error.
func TestDryRun(t *testing.T) {
	t.Parallel()
	e := newExplaining(t)
	for _, c := range []struct{ name, text, say string }{
		{"a base that is not here", "FROM localhost/none\nRUN x\n", "would be pulled"},
		{"an image to copy from", "FROM scratch\nCOPY --from=localhost/none /a /b\n", "would be pulled"},
		{"what is at a server", "FROM scratch\nADD http://127.0.0.1:1/a /\n", "not fetched"},
		{"a file that is not there", "FROM scratch\nCOPY none /\n", "none"},
	} {
		e.opts.File = dockerfile.File{Text: strings.NewReader(c.text)}
		steps, err := dockerfile.DryRun(t.Context(), e.b, e.opts)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		said := ""
		for _, s := range steps {
			said += string(s.Prospect) + " " + s.Text + "\n"
		}
		if !strings.Contains(said, "unknown ") || !strings.Contains(said, c.say) {
			t.Errorf("%s: it says %q", c.name, said)
		}
	}
	// Every step of a stage without the cache is one that is done.
	e.build(t)
	e.opts.Steps.NoCacheStages = []string{"made"}
	lines(t, e.forecast(t), "01 hit", "02 hit", "03 hit", "04 setting", "05 setting", "06 miss: no-cache", "07 miss: no-cache", "08 miss: no-cache", "09 hit", "10 unknown", "11 setting")
	e.opts.Steps.NoCacheStages, e.opts.Platforms = nil, []string{"linux/amd64", "linux/arm64"}
	e.opts.File = dockerfile.File{Text: strings.NewReader(e.text)}
	steps, err := dockerfile.DryRun(t.Context(), e.b, e.opts)
	if err != nil || len(steps) != 22 || steps[0].Platform != "linux/amd64" || steps[11].Platform != "linux/arm64" {
		t.Errorf("%+v, %v", steps, err)
	}
}

// Two stages of one name are told apart.
func TestDryRunOfNamesakes(t *testing.T) {
	t.Parallel()
	e := newExplaining(t)
	e.text = "FROM scratch AS a\nCOPY busybox /bin/sh\nFROM a AS a\nRUN echo 1 >/f\n"
	e.build(t)
	e.text = strings.Replace(e.text, "echo 1", "echo 2", 1)
	lines(t, e.forecast(t), "01 hit", "02 hit", "03 hit", "04 miss: changed, setting command")
}

// What a stage is of that starts with a directory is looked up, explained and done anew like what is copied into one.
func TestStageOfADirectory(t *testing.T) {
	t.Parallel()
	e := newExplaining(t)
	dir := contextDir(t)
	write(t, filepath.Join(dir, "f"), "1")
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "busybox"), filepath.Join(dir, "bin/sh")); err != nil {
		t.Fatal(err)
	}
	e.opts.Context.Named = map[string]string{"base": dir}
	e.text = "FROM base\nRUN cat /f >/g; echo >/ran\n"
	lines(t, e.forecast(t), "01 miss: new", "02 unknown") // and nothing is run
	e.build(t)
	lines(t, e.forecast(t), "01 hit", "02 hit")
	e.opts.Steps.NoCache = true
	lines(t, e.build(t), "01 FROM base: no-cache", "02 RUN cat /f >/g; echo >/ran: no-cache")
	e.opts.Steps.NoCache = false
	write(t, filepath.Join(dir, "f"), "2")
	lines(t, e.build(t), "01 FROM base: changed, file f content", "02 RUN cat /f >/g; echo >/ran: changed, parent FROM base")
	e.opts.Context.Named["base"] = "http://127.0.0.1:1/base.tar"
	lines(t, e.forecast(t), "01 unknown", "02 unknown")
}

// Files that a bind mount shows are named like those that are copied.
func TestExplainMounts(t *testing.T) {
	t.Parallel()
	e := newExplaining(t)
	e.text = "FROM scratch\nCOPY busybox /bin/sh\nRUN --mount=type=bind,source=src,target=/a read -r x </a/one; echo $x >/out\nRUN --mount=type=bind,source=src,target=/a --mount=type=bind,source=src/two,target=/b test -f /b\n"
	e.build(t)
	write(t, filepath.Join(e.opts.Context.Dir, "src", "one"), "changed")
	lines(t, e.build(t), "02 COPY busybox /bin/sh: hit",
		"03 RUN --mount=type=bind,source=src,target=/a read -r x </a/one; echo $x >/out: changed, file src/one content",
		"04 RUN --mount=type=bind,source=src,target=/a --mount=type=bind,source=src/two,target=/b test -f /b: changed, parent RUN --mount=type=bind,source=src,target=/a read -r x </a/one; echo $x >/out, file src/one content")
}
