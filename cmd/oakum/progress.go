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

	"github.com/oakum-build/oakum/builder/display"
	"github.com/oakum-build/oakum/builder/event"
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
	moving  map[string]*transfer
	steps   *stepTable   // of --explain
	raw     *rawProgress // writes all in place of lines; nil for lines
}

// transfer is what is known of an image on its way.
type transfer struct {
	told  time.Time
	blobs map[string]event.Event // how far each of its layers has come
}

// newProgress makes a progress that writes to w, which need not be harmless.
func newProgress(w io.Writer, quiet bool) *progress {
	return &progress{quiet: quiet, w: w, partial: map[int][]byte{}, moving: map[string]*transfer{}}
}

// say prints a message of our own.
func (p *progress) say(format string, args ...any) {
	if p.raw != nil {
		p.raw.say(fmt.Sprintf(format, args...))
		return
	}
	io.WriteString(p.w, display.Message(fmt.Sprintf(format, args...))+"\n")
}

// tell calls do, which prints, while nobody else prints.
func (p *progress) tell(do func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	do()
}

// step prints an event of package dockerfile.
func (p *progress) step(e dockerfile.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.steps.event(e)
	switch {
	case p.raw != nil:
		p.raw.step(e)
	case e.Kind == dockerfile.Warning:
		p.warn(ruled(e), e.Line)
	case p.quiet:
	case e.Kind == dockerfile.StepStarted:
		p.say("#%d [%s %d/%d] %s", e.Step, stageName(e.Platform, e.Stage), e.Step, e.Total, firstLine(e.Instruction))
	case e.Kind == dockerfile.StepOutput:
		p.output(e.Step, e.Output)
	case e.Kind == dockerfile.StepExplained && !p.steps.done(e.Step):
		for _, line := range explanation(*e.Explained) {
			p.say("#%d %s", e.Step, line)
		}
	case e.Kind == dockerfile.StepFinished:
		p.flush(e.Step)
		p.say("#%d %s", e.Step, outcome(e))
	}
}

// warnings prints those of the events of package dockerfile that are warnings.
func (p *progress) warnings(e dockerfile.Event) {
	if e.Kind == dockerfile.Warning {
		p.step(e)
	}
}

// table prints the table of --explain.
func (p *progress) table() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.quiet || p.raw != nil || p.steps == nil {
		return nil
	}
	return p.steps.write(p.w)
}

// event prints an event of package builder. Its steps are those that
// package dockerfile tells of with more detail.
func (p *progress) event(e event.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.raw != nil:
		p.raw.event(e)
	case e.Kind == event.Warning:
		p.warn(e.Text, 0)
	case p.quiet:
	case e.Kind == event.PullStarted:
		p.say("pulling %s", e.Ref)
	case e.Kind == event.PullProgress:
		p.moved("pulling", e)
	case e.Kind == event.PushProgress:
		p.moved("pushing", e)
	case e.Kind == event.PullFinished && e.Err == nil:
		p.say("pulled %s in %.1fs", e.Ref, e.Duration.Seconds())
	}
}

// seldom is the time between two lines on how far an image has come.
const seldom = 5 * time.Second

// moved tells of an image that is long on its way how far it has come.
func (p *progress) moved(doing string, e event.Event) {
	key, now := doing+" "+e.Ref, e.Time
	t := p.moving[key]
	if t == nil {
		t = &transfer{told: now, blobs: map[string]event.Event{}}
		p.moving[key] = t
	}
	t.blobs[e.Blob] = e
	if now.Sub(t.told) < seldom {
		return
	}
	t.told = now
	var offset, size int64
	done := 0
	for _, b := range t.blobs {
		offset, size = offset+b.Offset, size+max(b.Size, b.Offset)
		if b.Offset == b.Size {
			done++
		}
	}
	p.say("%s: %s of %s, %d of %d layers", key, humanSize(offset), humanSize(size), done, len(t.blobs))
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

// writing tells of an output.
func (p *progress) writing(dest string) {
	if dest == standardOutput {
		dest = "standard output"
	}
	if !p.quiet {
		p.say("writing %s", dest)
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

// ruled is the text of a warning, with the build check that warns.
func ruled(e dockerfile.Event) string {
	if e.Rule == "" {
		return e.Text
	}
	return e.Rule + ": " + e.Text
}

func (p *progress) warn(text string, line int) {
	if p.raw != nil {
		p.raw.warn(text, line)
		return
	}
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

// stageName tells a stage without a name from a number, and of several platforms for which it is.
func stageName(platform, name string) string {
	if strings.Trim(name, "0123456789") == "" {
		name = "stage-" + name
	}
	if platform != "" {
		name = platform + " " + name
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
