// Package forecast is what a dry run tells: see DryRun of package dockerfile.
package forecast

import "github.com/oakum-build/oakum/builder/explain"

// Step is what a build would do with one step, as far as that can be known without doing it. Its texts
// are as foreign as the Dockerfile is.
type Step struct {
	Step        int      `json:"step"` // from 1, stage by stage in the order of the file
	Platform    string   `json:"platform,omitempty"`
	Stage       string   `json:"stage"`
	Instruction string   `json:"instruction"`
	Line        int      `json:"line"`
	Prospect    Prospect `json:"prospect"`
	// Explained is why a step is found or not, and Text why nothing is known of one, or how it
	// would fail.
	Explained *explain.Step `json:"explained,omitempty"`
	Text      string        `json:"text,omitempty"`
}

// Prospect is what would become of a step.
type Prospect string

// The prospects.
const (
	Hit     Prospect = "hit"     // its result is there
	Miss    Prospect = "miss"    // it would be done
	Unknown Prospect = "unknown" // that depends on what others give, or on what is elsewhere
	Setting Prospect = "setting" // it changes the image's configuration alone
)
