package builder

import "time"

// EventKind says what happened.
type EventKind string

// The kinds of events.
const (
	EventPullStarted  EventKind = "pull-started"  // Ref
	EventPullFinished EventKind = "pull-finished" // Ref, Duration, Err
	EventStepStarted  EventKind = "step-started"  // Stage, Step
	EventStepFinished EventKind = "step-finished" // Stage, Step, Cached, Duration, Err
	EventCommitted    EventKind = "committed"     // Stage, Ref (the image id)
	EventWarning      EventKind = "warning"       // Text
)

// Event is one moment of a build, given to Options.Events.
type Event struct {
	Kind     EventKind
	Time     time.Time
	Stage    string // StageOptions.Name
	Step     string // the step's description, as it will stand in the history
	Ref      string
	Text     string
	Cached   bool
	Duration time.Duration
	Err      error
}
