package main

import (
	"encoding/json"
	"io"
	"strconv"
	"sync"
	"time"

	digest "github.com/opencontainers/go-digest"

	"github.com/oakum-build/oakum/builder/display"
	"github.com/oakum-build/oakum/builder/event"
	"github.com/oakum-build/oakum/builder/explain"
	"github.com/oakum-build/oakum/dockerfile"
)

// rawProgress writes the events of a build as --progress=rawjson of BuildKit does: a line of JSON for
// each, in the shape of its client.SolveStatus, with a vertex for each step and each image that is
// pulled or pushed. A vertex is written whole whenever something of it changes.
type rawProgress struct {
	w io.Writer

	mu       sync.Mutex
	vertexes map[string]*rawVertex
}

func newRawProgress(w io.Writer) *rawProgress {
	return &rawProgress{w: display.NewWriter(w), vertexes: map[string]*rawVertex{}}
}

type rawStatus struct {
	Vertexes []*rawVertex  `json:"vertexes,omitempty"`
	Statuses []rawTransfer `json:"statuses,omitempty"`
	Logs     []rawLog      `json:"logs,omitempty"`
	Warnings []rawWarning  `json:"warnings,omitempty"`
}

type rawVertex struct {
	Digest    digest.Digest `json:"digest"`
	Name      string        `json:"name"`
	Started   *time.Time    `json:"started,omitempty"`
	Completed *time.Time    `json:"completed,omitempty"`
	Cached    bool          `json:"cached,omitempty"`
	Error     string        `json:"error,omitempty"`
	// Explained is oakum's own: see --explain.
	Explained *explain.Step `json:"oakum.explained,omitempty"`
}

type rawTransfer struct {
	ID        string        `json:"id"`
	Vertex    digest.Digest `json:"vertex"`
	Total     int64         `json:"total,omitempty"`
	Current   int64         `json:"current"`
	Timestamp time.Time     `json:"timestamp"`
}

type rawLog struct {
	Vertex    digest.Digest `json:"vertex"`
	Stream    int           `json:"stream"`
	Data      []byte        `json:"data"`
	Timestamp time.Time     `json:"timestamp"`
}

type rawWarning struct {
	Level int    `json:"level"`
	Short []byte `json:"short"`
}

func (r *rawProgress) write(s rawStatus) {
	if line, err := json.Marshal(s); err == nil {
		_, _ = r.w.Write(append(line, '\n'))
	}
}

// vertex is that of an id, which is made when it is new.
func (r *rawProgress) vertex(id, name string, at time.Time) *rawVertex {
	v := r.vertexes[id]
	if v == nil {
		v = &rawVertex{Digest: digest.FromString(id), Name: name, Started: &at}
		r.vertexes[id] = v
	}
	return v
}

// step writes an event of package dockerfile.
func (r *rawProgress) step(e dockerfile.Event) {
	if e.Kind == dockerfile.Warning {
		r.warn(ruled(e), e.Line)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	title := "[" + stageName(e.Platform, e.Stage) + " " + strconv.Itoa(e.Step) + "/" + strconv.Itoa(e.Total) + "] "
	v := r.vertex("step "+strconv.Itoa(e.Step), title+e.Instruction, e.Time)
	switch e.Kind {
	case dockerfile.StepOutput:
		r.write(rawStatus{Logs: []rawLog{{v.Digest, 1, e.Output, e.Time}}})
		return
	case dockerfile.StepExplained:
		v.Explained = e.Explained
	case dockerfile.StepFinished:
		v.complete(e.Time, e.Err)
		v.Cached = e.Cached
	}
	r.write(rawStatus{Vertexes: []*rawVertex{v}})
}

func (v *rawVertex) complete(at time.Time, err error) {
	if v.Completed = &at; err != nil {
		v.Error = err.Error()
	}
}

// event writes an event of package builder.
func (r *rawProgress) event(e event.Event) {
	if e.Kind == event.Warning {
		r.warn(e.Text, 0)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e.Kind {
	case event.PullStarted:
		r.write(rawStatus{Vertexes: []*rawVertex{r.vertex("pulling "+e.Ref, "pulling "+e.Ref, e.Time)}})
	case event.PullFinished:
		v := r.vertex("pulling "+e.Ref, "pulling "+e.Ref, e.Time)
		v.complete(e.Time, e.Err)
		r.write(rawStatus{Vertexes: []*rawVertex{v}})
	case event.PullProgress, event.PushProgress:
		doing := "pulling "
		if e.Kind == event.PushProgress {
			doing = "pushing "
		}
		v := r.vertex(doing+e.Ref, doing+e.Ref, e.Time)
		r.write(rawStatus{Statuses: []rawTransfer{{e.Blob, v.Digest, max(e.Size, 0), e.Offset, e.Time}}})
	}
}

// say writes a message of our own as a vertex that is complete.
func (r *rawProgress) say(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	v := r.vertex(text, text, now)
	v.complete(now, nil)
	r.write(rawStatus{Vertexes: []*rawVertex{v}})
}

func (r *rawProgress) warn(text string, line int) {
	if line > 0 {
		text = "line " + strconv.Itoa(line) + ": " + text
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.write(rawStatus{Warnings: []rawWarning{{1, []byte(text)}}})
}
