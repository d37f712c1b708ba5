package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/display"
	"github.com/oakum-build/oakum/dockerfile"
)

// longestLine bounds how much of a line without an end is held back.
const longestLine = 64 << 10

// progress prints a build as lines, each with the number of its step, so that
// the lines of stages that build side by side can be told apart:
//
//	#2 [app 2/5] RUN go build -o /app .
//	#2 go: downloading ...
//	#2 DONE 1.4s
//
// It is the sink of both packages' events, which come from several goroutines.
type progress struct {
	quiet bool // warnings only

	mu      sync.Mutex
	w       io.Writer
	partial map[int][]byte // the lines begun, by step
}

// newProgress makes a progress that writes to w, which need not be harmless.
func newProgress(w io.Writer, quiet bool) *progress {
	return &progress{quiet: quiet, w: w, partial: map[int][]byte{}}
}

// say prints a message of our own.
func (p *progress) say(format string, args ...any) {
	io.WriteString(p.w, display.Message(fmt.Sprintf(format, args...))+"\n")
}

// step prints an event of package dockerfile.
func (p *progress) step(e dockerfile.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case e.Kind == dockerfile.Warning:
		text := e.Text
		if e.Rule != "" {
			text = e.Rule + ": " + text
		}
		p.warn(text, e.Line)
	case p.quiet:
	case e.Kind == dockerfile.StepStarted:
		p.say("#%d [%s %d/%d] %s", e.Step, stageName(e.Stage), e.Step, e.Total, firstLine(e.Instruction))
	case e.Kind == dockerfile.StepOutput:
		p.output(e.Step, e.Output)
	case e.Kind == dockerfile.StepFinished:
		p.flush(e.Step)
		p.say("#%d %s", e.Step, outcome(e))
	}
}

// event prints an event of package builder. Its steps are those that
// package dockerfile tells of with more detail.
func (p *progress) event(e builder.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case e.Kind == builder.EventWarning:
		p.warn(e.Text, 0)
	case p.quiet:
	case e.Kind == builder.EventPullStarted:
		p.say("pulling %s", e.Ref)
	case e.Kind == builder.EventPullFinished && e.Err == nil:
		p.say("pulled %s in %.1fs", e.Ref, e.Duration.Seconds())
	}
}

// pushing and pushed tell of a push of build --push.
func (p *progress) pushing(name string) {
	if !p.quiet {
		p.say("pushing %s", name)
	}
}

func (p *progress) pushed(name, digest string, took time.Duration) {
	if !p.quiet {
		p.say("pushed %s as %s in %.1fs", name, digest, took.Seconds())
	}
}

// tagged prints the names that a build gave.
func (p *progress) tagged(names []string) {
	for _, name := range names {
		if !p.quiet {
			p.say("tagged %s", name)
		}
	}
}

func (p *progress) warn(text string, line int) {
	if line > 0 {
		text = fmt.Sprintf("line %d: %s", line, text)
	}
	p.say("warning: %s", text)
}

// output prints the complete lines of a command's output and holds the rest back.
func (p *progress) output(step int, data []byte) {
	data = append(p.partial[step], data...)
	end := bytes.LastIndexByte(data, '\n') + 1
	p.lines(step, data[:end])
	p.partial[step] = data[end:]
	if len(p.partial[step]) > longestLine {
		p.flush(step)
	}
}

func (p *progress) flush(step int) {
	p.lines(step, p.partial[step])
	delete(p.partial, step)
}

func (p *progress) lines(step int, output []byte) {
	if len(output) == 0 {
		return
	}
	for _, line := range display.Output(output) {
		fmt.Fprintf(p.w, "#%d %s\n", step, line)
	}
}

func outcome(e dockerfile.Event) string {
	switch {
	case errors.Is(e.Err, context.Canceled), errors.Is(e.Err, context.DeadlineExceeded):
		return "CANCELLED" // by a signal, or since another step failed
	case e.Err != nil:
		return "FAILED"
	case e.Cached:
		return "CACHED"
	}
	return fmt.Sprintf("DONE %.1fs", e.Duration.Seconds())
}

// stageName tells a stage without a name from a number.
func stageName(name string) string {
	if strings.Trim(name, "0123456789") == "" {
		return "stage-" + name
	}
	return name
}

func firstLine(text string) string {
	first, _, more := strings.Cut(text, "\n")
	if more {
		first += " ..."
	}
	return first
}
