//go:build linux

package step

import "github.com/oakum-build/oakum/storage"

// build is what the open stages of one build have done that do not look into the cache: an
// equal step of another of them is not done again. Else the cache would have two results for
// it, and the next build would take one of them for both.
type build struct {
	stages int                // that are open
	done   map[string][]fresh // by a claim's first name
}

// fresh is a step's result.
type fresh struct {
	content string
	layer   *storage.Layer
}

// shares says whether a stage has such a build.
func (s *Stage) shares() bool { return s.opts.NoCache && s.opts.Build != "" }

// join notes that a stage of a build is open.
func (e *Engine) join(s *Stage) {
	if !s.shares() {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	b := e.builds[s.opts.Build]
	if b == nil {
		b = &build{done: map[string][]fresh{}}
		e.builds[s.opts.Build] = b
	}
	b.stages++
}

// quit notes that it is closed.
func (e *Engine) quit(s *Stage) {
	if !s.shares() {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	b := e.builds[s.opts.Build]
	if b.stages--; b.stages == 0 {
		delete(e.builds, s.opts.Build)
	}
}

// keep remembers a result for the build. The step is claimed.
func (e *Engine) keep(s *Stage, name string, r fresh) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if b := e.builds[s.opts.Build]; b != nil && s.shares() {
		b.done[name] = append(b.done[name], r)
	}
}

// kept gives the results that the build has. The step is claimed.
func (e *Engine) kept(s *Stage, name string) []fresh {
	e.mu.Lock()
	defer e.mu.Unlock()
	if b := e.builds[s.opts.Build]; b != nil {
		return b.done[name]
	}
	return nil
}
