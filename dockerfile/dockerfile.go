// Package dockerfile compiles a Dockerfile into calls on package builder.
package dockerfile

import (
	"context"
	"errors"
	"time"

	"github.com/oakum-build/oakum/builder"
)

// Options is one build. Only ContextDir or File must be set.
type Options struct {
	// ContextDir is the directory that COPY and ADD read; "" is no context.
	ContextDir string
	// File is the Dockerfile's path; "" is Dockerfile, dockerfile or Containerfile in
	// ContextDir, in this order.
	File string
	// Target is the stage to build, by name or index; "" is the last.
	Target string
	// BuildArgs sets ARG values. A nil value takes the variable from LookupEnv.
	BuildArgs map[string]*string
	// LookupEnv looks up the build arguments given without a value; nil finds none.
	LookupEnv func(string) (string, bool)
	// Names are the names of the image, fully qualified or short.
	Names  []string
	Labels map[string]string
	// Pull and NoCache are those of builder.StageOptions.
	Pull    builder.PullPolicy
	NoCache bool
	// Jobs is how many stages build at once; 0 is as many as there are processors.
	Jobs int
	// Format is the image format, "oci" (the default) or "docker".
	Format string
	// Progress receives events, one at a time; nil discards them.
	Progress func(Event)
}

// EventKind says what an Event tells.
type EventKind string

// The kinds of events.
const (
	StepStarted  EventKind = "started"  // Step, Total, Stage, Instruction, Line
	StepOutput   EventKind = "output"   // the same, and Output
	StepFinished EventKind = "finished" // the same, and Cached, Duration, Err
	Warning      EventKind = "warning"  // Text, Line
)

// Event is one moment of a build.
type Event struct {
	Kind        EventKind
	Time        time.Time
	Step, Total int    // Step counts from 1 over all stages that are built
	Stage       string // the stage's name, or its index when it has none
	Instruction string // as written, continuation lines joined
	Line        int    // in the Dockerfile, from 1
	Output      []byte // of the command, as it came
	Stderr      bool   // Output is from standard error
	Cached      bool
	Duration    time.Duration
	Text        string
	Err         error
}

// Error is a fault with its place in the Dockerfile. Unwrap gives the cause, such
// as a *builder.ExitError.
type Error struct {
	File    string // as given
	Line    int    // from 1; 0 when no line is at fault
	EndLine int
	Excerpt string // the lines around it, the faulty ones marked; ends in a newline
	Hint    string // one sentence, such as a "did you mean"; may be empty
	Err     error
}

// Error says file:line and the cause, without the excerpt.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Build parses, plans and builds, and commits the target stage under opts.Names.
func Build(ctx context.Context, b *builder.Builder, opts Options) (builder.Image, error) {
	return builder.Image{}, errors.New("unimplemented")
}
