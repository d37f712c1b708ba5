package dockerfile

import (
	"bytes"
	"io"
	"sync"
	"time"

	"github.com/oakum-build/oakum/dockerfile/internal/lint"
)

// progress numbers the steps and hands out events one at a time.
type progress struct {
	mu    sync.Mutex
	sink  func(Event) // may be nil
	step  int         // the last one started
	total int
}

// grow announces further steps.
func (p *progress) grow(steps int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total += steps
}

// send hands out an event. The caller holds mu.
func (p *progress) send(e Event) {
	if p.sink != nil {
		e.Time = time.Now()
		p.sink(e)
	}
}

// warn hands out a warning about a line of the Dockerfile, or about none (0).
func (p *progress) warn(line int, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.send(Event{Kind: Warning, Line: line, Text: text})
}

// found hands out what a build check found.
func (p *progress) found(f lint.Finding) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.send(Event{Kind: Warning, Line: f.Line, Text: f.Detail, Rule: f.Rule})
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
		Step: p.step, Stage: stage, Instruction: instruction, Line: line,
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
