// Package event is what a Builder tells while it works: see builder.Options.Events.
package event

import (
	"time"

	"github.com/oakum-build/oakum/builder/explain"
)

// Kind says what happened.
type Kind string

// The kinds of events, with the fields of Event that each fills beside those that say where it
// happened.
const (
	PullStarted  Kind = "pull-started"  // Ref
	PullFinished Kind = "pull-finished" // Ref, Duration, Err
	PullProgress Kind = "pull-progress" // Ref, Blob, Offset, Size; some ten times a second for each blob
	PushProgress Kind = "push-progress" // likewise
	StepStarted  Kind = "step-started"  // Step
	StepFinished Kind = "step-finished" // Step, Cached, Duration, Err
	// StepExplained comes between the two, of stages with StageOptions.Explain: Step, Explained.
	StepExplained Kind = "step-explained"
	Committed     Kind = "committed" // Ref, the id of the image
	Warning       Kind = "warning"   // Text
)

// Event is one moment of a build.
type Event struct {
	Kind Kind
	Time time.Time
	// Build, Stage and StageID say where it happened: StageOptions.Build and Name of the stage,
	// and Stage.ID, which no other stage of the Builder has. An image that is pulled for a stage is
	// the stage's, too. They are "" for what belongs to no stage, such as Builder.Pull.
	Build, Stage, StageID string

	Step     string // the step's description, as it will stand in the history
	Ref      string
	Text     string
	Cached   bool
	Duration time.Duration
	Err      error
	// Explained is why the step was found in the cache, or not.
	Explained *explain.Step

	// Blob is the digest of a layer that is on its way, and Offset how many of its bytes have come so
	// far, of Size, which is -1 where it is not known. A layer that is compressed on the way is
	// counted before it is. Layers that the other side has are not told of.
	Blob         string
	Offset, Size int64
}
