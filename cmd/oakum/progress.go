package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/oakum-build/oakum/builder"
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
	partial map[lineOf][]byte // the lines begun
}

// lineOf names one of the two outputs of a step.
type lineOf struct {
	step   int
	stderr bool
}

func newProgress(w io.Writer, quiet bool) *progress {
	return &progress{quiet: quiet, w: w, partial: map[lineOf][]byte{}}
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
		fmt.Fprintf(p.w, "#%d [%s %d/%d] %s\n", e.Step, stageName(e.Stage), e.Step, e.Total, firstLine(e.Instruction))
	case e.Kind == dockerfile.StepOutput:
		p.output(lineOf{e.Step, e.Stderr}, e.Output)
	case e.Kind == dockerfile.StepFinished:
		p.flush(lineOf{e.Step, false})
		p.flush(lineOf{e.Step, true})
		fmt.Fprintf(p.w, "#%d %s\n", e.Step, outcome(e))
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
		fmt.Fprintf(p.w, "pulling %s\n", e.Ref)
	case e.Kind == builder.EventPullFinished && e.Err == nil:
		fmt.Fprintf(p.w, "pulled %s in %.1fs\n", e.Ref, e.Duration.Seconds())
	}
}

// tagged prints the names that a build gave.
func (p *progress) tagged(names []string) {
	for _, name := range names {
		if !p.quiet {
			fmt.Fprintf(p.w, "tagged %s\n", name)
		}
	}
}

func (p *progress) warn(text string, line int) {
	if line > 0 {
		text = fmt.Sprintf("line %d: %s", line, text)
	}
	fmt.Fprintf(p.w, "warning: %s\n", text)
}

// output prints the complete lines of a command's output and holds the rest back.
func (p *progress) output(of lineOf, data []byte) {
	data = append(p.partial[of], data...)
	for {
		line, rest, ok := bytes.Cut(data, []byte("\n"))
		if !ok {
			break
		}
		p.line(of.step, line)
		data = rest
	}
	p.partial[of] = data
	if len(data) > longestLine {
		p.flush(of)
	}
}

func (p *progress) flush(of lineOf) {
	if rest := p.partial[of]; len(rest) > 0 {
		p.line(of.step, rest)
	}
	delete(p.partial, of)
}

func (p *progress) line(step int, line []byte) {
	fmt.Fprintf(p.w, "#%d %s\n", step, bytes.TrimRight(line, "\r"))
}

func outcome(e dockerfile.Event) string {
	switch {
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
