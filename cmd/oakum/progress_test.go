package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/dockerfile"
)

// playBuild sends what a build of two stages side by side may send.
func playBuild(p *progress) {
	first := dockerfile.Event{Step: 1, Total: 3, Stage: "app", Instruction: "RUN make"}
	second := dockerfile.Event{Step: 2, Total: 3, Stage: "1", Instruction: "RUN <<EOF\nls\nEOF"}
	third := dockerfile.Event{Step: 3, Total: 3, Stage: "1", Instruction: "COPY . ."}
	send := func(e dockerfile.Event, kind dockerfile.EventKind, change func(*dockerfile.Event)) {
		e.Kind = kind
		if change != nil {
			change(&e)
		}
		p.step(e)
	}
	output := func(text string, stderr bool) func(*dockerfile.Event) {
		return func(e *dockerfile.Event) { e.Output, e.Stderr = []byte(text), stderr }
	}
	p.event(builder.Event{Kind: builder.EventPullStarted, Ref: "docker.io/library/busybox:latest"})
	p.event(builder.Event{Kind: builder.EventPullFinished, Ref: "docker.io/library/busybox:latest", Duration: 1500 * time.Millisecond})
	send(first, dockerfile.StepStarted, nil)
	send(second, dockerfile.StepStarted, nil)
	send(first, dockerfile.StepOutput, output("cc a", false))
	send(second, dockerfile.StepOutput, output("x\r\ny\n", false))
	send(first, dockerfile.StepOutput, output("warn\n", true))
	send(first, dockerfile.StepOutput, output(".c\ncc", false))
	p.event(builder.Event{Kind: builder.EventWarning, Text: "chown squashed"})
	send(first, dockerfile.StepFinished, func(e *dockerfile.Event) { e.Duration = 340 * time.Millisecond })
	send(second, dockerfile.StepFinished, func(e *dockerfile.Event) { e.Err = errors.New("no") })
	send(third, dockerfile.StepStarted, nil)
	send(third, dockerfile.StepFinished, func(e *dockerfile.Event) { e.Cached = true })
	p.step(dockerfile.Event{Kind: dockerfile.Warning, Line: 4, Text: "odd"})
	p.tagged([]string{"a:1"})
}

func TestProgressPlain(t *testing.T) {
	const want = `pulling docker.io/library/busybox:latest
pulled docker.io/library/busybox:latest in 1.5s
#1 [app 1/3] RUN make
#2 [stage-1 2/3] RUN <<EOF ...
#2 x
#2 y
#1 warn
#1 cc a.c
warning: chown squashed
#1 cc
#1 DONE 0.3s
#2 FAILED
#3 [stage-1 3/3] COPY . .
#3 CACHED
warning: line 4: odd
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
	if want := "warning: chown squashed\nwarning: line 4: odd\n"; out.String() != want {
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
