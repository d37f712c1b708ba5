package dockerfile

import (
	"bytes"
	"io"
	"sync"
	"time"

	"github.com/oakum-build/oakum/builder/explain"
	"github.com/oakum-build/oakum/dockerfile/internal/lint"
)

// progress hands out the events of a building.
type progress struct {
	*numbering
	platform string // of the building, if there are several
}

// numbering numbers the steps of all buildings of a build, and hands out events one at a time.
type numbering struct {
	mu    sync.Mutex
	sink  func(Event) // may be nil
	step  int         // the last one started
	total int
	// told are the warnings that were given. What is wrong on all platforms is told once.
	told map[warning]bool
}

type warning struct {
	line       int
	rule, text string
}

// warning hands a warning out, unless another building has. The caller holds mu.
func (p *numbering) warning(w warning) {
	if p.told[w] {
		return
	}
	if p.told != nil {
		p.told[w] = true
	}
	p.send(Event{Kind: Warning, Line: w.line, Rule: w.rule, Text: w.text})
}

// grow announces further steps.
func (p *numbering) grow(steps int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total += steps
}

// send hands out an event. The caller holds mu.
func (p *numbering) send(e Event) {
	if p.sink != nil {
		e.Time = time.Now()
		p.sink(e)
	}
}

// warn hands out a warning about a line of the Dockerfile, or about none (0).
func (p *numbering) warn(line int, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.warning(warning{line, "", text})
}

// found hands out what a build check found.
func (p *numbering) found(f lint.Finding) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.warning(warning{f.Line, f.Rule, f.Detail})
}

// step is one that is going on.
type step struct {
	progress *progress
	event    Event // what its events have in common
	began    time.Time
}

// start begins the next step.
func (p *progress) start(stage, instruction string, line int) *step {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.step++
	s := &step{progress: p, began: time.Now(), event: Event{
		Step: p.step, Platform: p.platform, Stage: stage, Instruction: instruction, Line: line,
	}}
	s.send(StepStarted, func(*Event) {})
	return s
}

// send hands out an event of the step. The caller holds the progress's mu.
func (s *step) send(kind EventKind, fill func(*Event)) {
	e := s.event
	e.Kind, e.Total = kind, s.progress.total
	fill(&e)
	s.progress.send(e)
}

// explained tells why the step is done or not.
func (s *step) explained(told explain.Step) {
	s.progress.mu.Lock()
	defer s.progress.mu.Unlock()
	s.send(StepExplained, func(e *Event) { e.Explained = &told })
}

// finish ends the step.
func (s *step) finish(cached bool, err error) {
	s.progress.mu.Lock()
	defer s.progress.mu.Unlock()
	s.send(StepFinished, func(e *Event) {
		e.Cached, e.Err, e.Duration = cached, err, time.Since(s.began)
	})
}

// output is a writer for what the step's command prints; nil when nobody listens.
func (s *step) output() io.Writer {
	if s.progress.sink == nil {
		return nil
	}
	return stepWriter{s}
}

// stepWriter makes events of what is written.
type stepWriter struct{ step *step }

func (w stepWriter) Write(data []byte) (int, error) {
	w.step.progress.mu.Lock()
	defer w.step.progress.mu.Unlock()
	w.step.send(StepOutput, func(e *Event) {
		e.Output = bytes.Clone(data)
	})
	return len(data), nil
}
