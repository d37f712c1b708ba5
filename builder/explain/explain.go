// Package explain is what a step tells of the cache: where its result was found, or what has changed
// since it was last done. See builder.StageOptions.Explain.
//
// Digests in it are short, and of values that may be private they are those of one store alone: they
// say that two values differ, and nothing else.
package explain

import (
	"fmt"
	"strings"
	"time"
)

// Step is what is told of one step, before it is done.
type Step struct {
	// Cached says that the result was found, and the step is not done. Created is when it was made,
	// From where it was found, and Size that of its layer as an uncompressed tar; they are zero where
	// it was found that there is nothing to do.
	Cached  bool      `json:"cached"`
	Created time.Time `json:"created,omitzero"`
	From    string    `json:"from,omitempty"`
	Size    int64     `json:"size,omitempty"`

	// Cause says why it was not found. With Changed, Changes are what has changed since the nearest
	// step that is known, which was done at Since; More is how many changes there are beside these.
	Cause   Cause     `json:"cause,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	Changes []Change  `json:"changes,omitempty"`
	More    int       `json:"more,omitempty"`
}

// Where a result was found, beside caches elsewhere, which are called as the caller has called them.
const (
	Store = "store" // in the layer cache of the store
	Build = "build" // another stage of the build had just made it
)

// Cause is why a step was not found.
type Cause string

// The causes.
const (
	Changed Cause = "changed"  // something of it is not as it was
	New     Cause = "new"      // no such step is known
	Removed Cause = "removed"  // its layer is neither in the store any more, nor in a cache elsewhere
	Expired Cause = "expired"  // its result is older than one may be that is found
	NoCache Cause = "no-cache" // it was to be done again
	Unknown Cause = "unknown"  // it was done before, and what it was made of then is not known
)

// Kind is what has changed.
type Kind string

// The kinds, with what Change.Name names.
const (
	Base     Kind = "base"     // the base image: its name
	Parent   Kind = "parent"   // the step before: its text
	File     Kind = "file"     // a file that the step reads: its path in what it is read from
	Files    Kind = "files"    // the files that it reads, where it is not known which
	Argument Kind = "argument" // a build argument: its name
	Variable Kind = "variable" // a variable of the environment: its name
	Setting  Kind = "setting"  // anything else that the step says: what it is
)

// Change is one thing that is not as it was.
type Change struct {
	Kind Kind   `json:"kind"`
	Name string `json:"name,omitempty"`
	// How says what of it has changed: of a file "content", "mode", "owner", "type" or "attributes"; "new"
	// and "gone" for what was not there before, or is not any more. "" is its value.
	How string `json:"how,omitempty"`
	// Before and Now are short digests of the values, of a mode and an owner these themselves. They are "" where
	// there is none.
	Before string `json:"before,omitempty"`
	Now    string `json:"now,omitempty"`
}

// String is the change in a line, whose texts are as foreign as the step's files and variables are.
func (c Change) String() string {
	what := string(c.Kind)
	switch c.Kind {
	case Base:
		what = "base image"
	case Parent:
		what = "the step before"
	case Setting:
		what = ""
	case Argument:
		what = "build argument"
	}
	text := strings.TrimSpace(what + " " + c.Name)
	if c.How != "" {
		text += ": " + c.How
	}
	switch {
	case c.Before != "" && c.Now != "":
		sep := " "
		if c.How == "" {
			sep = ": "
		}
		text += fmt.Sprintf("%s%s -> %s", sep, c.Before, c.Now)
	case c.How == "" && c.Kind != Parent:
		text += ": changed"
	}
	return text
}

// Headline says in a sentence, without its end, what the step tells but for Changes.
func (s Step) Headline() string {
	when := func(t time.Time) string { return t.Local().Format(time.DateTime) }
	switch {
	case s.Cached && s.Created.IsZero():
		return "found: it changes nothing"
	case s.Cached && s.From == Build:
		return "found: another stage has just made it"
	case s.Cached && (s.From == Store || s.From == ""):
		return "found in the store, made " + when(s.Created)
	case s.Cached:
		return fmt.Sprintf("found in %s, made %s", s.From, when(s.Created))
	}
	switch s.Cause {
	case Changed:
		return "not found: changed since " + when(s.Since)
	case New:
		return "not found: no such step is known"
	case Removed:
		return "not found: its layer is neither in the store nor in a cache"
	case Expired:
		return "not found: its result is too old, made " + when(s.Since)
	case NoCache:
		return "not looked for: the cache is off"
	}
	return "not found: it was done before, and what has changed since is not known"
}
