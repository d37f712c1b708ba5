package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/oakum-build/oakum/builder/event"
	"github.com/oakum-build/oakum/builder/explain"
	"github.com/oakum-build/oakum/dockerfile"
	"github.com/oakum-build/oakum/dockerfile/forecast"
)

// playBuild sends what a build of two stages side by side may send.
func playBuild(p *progress) {
	first := dockerfile.Event{Step: 1, Total: 3, Stage: "app", Instruction: "RUN make"}
	second := dockerfile.Event{Step: 2, Total: 3, Stage: "1", Instruction: "RUN <<EOF\nls\nEOF"}
	fourth := dockerfile.Event{Step: 4, Total: 4, Stage: "\x1b[8m", Instruction: "RUN \x1b]0;x\x07 \u202e"}
	third := dockerfile.Event{Step: 3, Total: 3, Stage: "1", Instruction: "COPY . ."}
	send := func(e dockerfile.Event, kind dockerfile.EventKind, change func(*dockerfile.Event)) {
		e.Kind = kind
		if change != nil {
			change(&e)
		}
		p.step(e)
	}
	output := func(text string) func(*dockerfile.Event) {
		return func(e *dockerfile.Event) { e.Output = []byte(text) }
	}
	p.event(event.Event{Kind: event.PullStarted, Ref: "docker.io/library/busybox:latest"})
	for i, moved := range []event.Event{
		{Blob: "sha256:a", Offset: 1, Size: 3_000_000}, {Blob: "sha256:b", Offset: 500_000, Size: 500_000},
		{Blob: "sha256:a", Offset: 1_000_000, Size: 3_000_000}, {Blob: "sha256:c", Offset: 10, Size: -1}, {Blob: "sha256:a", Offset: 3_000_000, Size: 3_000_000},
	} {
		moved.Kind, moved.Ref, moved.Time = event.PullProgress, "docker.io/library/busybox:latest", time.Unix(int64(3*i), 0)
		p.event(moved)
	}
	p.event(event.Event{Kind: event.PullFinished, Ref: "docker.io/library/busybox:latest", Duration: 1500 * time.Millisecond})
	send(first, dockerfile.StepStarted, nil)
	send(second, dockerfile.StepStarted, nil)
	send(first, dockerfile.StepOutput, output("cc a"))
	send(second, dockerfile.StepOutput, output("x\r\ny\n"))
	send(first, dockerfile.StepOutput, output(".c\ncc"))
	send(second, dockerfile.StepOutput, output("50%\r100%\n\x1b[2K\x1b[31mred\n#9 DONE\n"))
	p.event(event.Event{Kind: event.Warning, Text: "chown squashed"})
	send(first, dockerfile.StepFinished, func(e *dockerfile.Event) { e.Duration = 340 * time.Millisecond })
	send(second, dockerfile.StepFinished, func(e *dockerfile.Event) { e.Err = errors.New("no") })
	send(third, dockerfile.StepStarted, nil)
	send(third, dockerfile.StepFinished, func(e *dockerfile.Event) { e.Cached = true })
	send(fourth, dockerfile.StepStarted, nil)
	send(fourth, dockerfile.StepFinished, func(e *dockerfile.Event) { e.Err = fmt.Errorf("line 1: %w", context.Canceled) })
	p.step(dockerfile.Event{Kind: dockerfile.Warning, Line: 4, Text: "odd\n#1 DONE"})
	p.tagged([]string{"a:1"})
}

func TestProgressPlain(t *testing.T) {
	const want = `pulling docker.io/library/busybox:latest
pulling docker.io/library/busybox:latest: 1.5 MB of 3.5 MB, 1 of 2 layers
pulling docker.io/library/busybox:latest: 3.5 MB of 3.5 MB, 2 of 3 layers
pulled docker.io/library/busybox:latest in 1.5s
#1 [app 1/3] RUN make
#2 [stage-1 2/3] RUN <<EOF ...
#2 x
#2 y
#1 cc a.c
#2 50%
#2 100%
#2 \x1b[2K` + "\x1b[31mred\x1b[0m" + `
#2 #9 DONE
warning: chown squashed
#1 cc
#1 DONE 0.3s
#2 FAILED
#3 [stage-1 3/3] COPY . .
#3 CACHED
#4 [\x1b[8m 4/4] RUN \x1b]0;x\x07 \u202e
#4 CANCELLED
warning: line 4: odd
  #1 DONE
tagged a:1
`
	var out strings.Builder
	playBuild(newProgress(&out, false))
	if out.String() != want {
		t.Errorf("got:\n%swant:\n%s", out.String(), want)
	}
}

func TestProgressQuiet(t *testing.T) {
	var out strings.Builder
	playBuild(newProgress(&out, true))
	if want := "warning: chown squashed\nwarning: line 4: odd\n  #1 DONE\n"; out.String() != want {
		t.Errorf("got:\n%swant:\n%s", out.String(), want)
	}
}

func TestProgressEndlessLine(t *testing.T) {
	var out strings.Builder
	p := newProgress(&out, false)
	for range 3 {
		p.step(dockerfile.Event{Kind: dockerfile.StepOutput, Step: 1, Output: []byte(strings.Repeat("x", longestLine))})
	}
	if out.Len() < 2*longestLine {
		t.Errorf("%d bytes shown of a long line; the rest is held in memory", out.Len())
	}
}

// What a file or a stage is called stays in its line, and drives no terminal.
func TestExplanationIsHarmless(t *testing.T) {
	t.Parallel()
	hostile := "a\n#1 DONE\x1b[2J\u202e"
	told := explain.Step{Cause: explain.Changed, More: 3, Changes: []explain.Change{
		{Kind: explain.File, Name: hostile, How: "new"}, {Kind: explain.Parent, Name: hostile}, {Kind: explain.Base, Name: hostile, Before: "x", Now: hostile},
	}}
	var out strings.Builder
	if err := writeForecast(&out, []forecast.Step{
		{Step: 1, Stage: hostile, Instruction: hostile, Prospect: forecast.Miss, Explained: &told}, {Step: 2, Stage: hostile, Instruction: "RUN", Prospect: forecast.Unknown, Text: hostile},
	}); err != nil {
		t.Fatal(err)
	}
	p := newProgress(&out, false)
	p.step(dockerfile.Event{Kind: dockerfile.StepExplained, Step: 1, Explained: &told})
	for line := range strings.Lines(out.String()) {
		if strings.HasPrefix(line, "#1 DONE") || strings.ContainsAny(line, "\x1b\u202e") {
			t.Errorf("%q", line)
		}
	}
	if n := strings.Count(out.String(), "\n"); n != 13 {
		t.Errorf("%d lines:\n%s", n, out.String())
	}
}
