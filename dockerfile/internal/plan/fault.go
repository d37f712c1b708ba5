package plan

import (
	"errors"
	"fmt"
	"slices"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/util/suggest"
)

// Fault is an error with its lines in the Dockerfile.
type Fault struct {
	Line, End int    // from 1; 0 when no line is at fault
	Hint      string // one sentence that helps, or ""
	Err       error
}

// Error is the cause alone.
func (f *Fault) Error() string { return f.Err.Error() }

// Unwrap gives the cause.
func (f *Fault) Unwrap() error { return f.Err }

// fault makes a Fault at the given lines.
func fault(line, end int, format string, args ...any) *Fault {
	return &Fault{Line: line, End: end, Err: fmt.Errorf(format, args...)}
}

// unsupported is a feature of the language that is not done yet. It matches
// errors.ErrUnsupported.
type unsupported struct{ feature string }

func (u unsupported) Error() string { return u.feature + " is not supported yet" }

func (u unsupported) Is(target error) bool { return target == errors.ErrUnsupported }

// lines gives the first and the last of a location's lines.
func lines(location []parser.Range) (first, last int) {
	for i, r := range location {
		end := max(r.Start.Line, r.End.Line)
		if i == 0 || r.Start.Line < first {
			first = r.Start.Line
		}
		last = max(last, end)
	}
	return first, last
}

// didYouMean is the hint for a misspelt name, or "".
func didYouMean(name string, known []string) string {
	if match := Nearest(name, known); match != "" {
		return "did you mean " + match + "?"
	}
	return ""
}

// shortest is the least length of a name that is guessed at: any two shorter ones
// are alike.
const shortest = 3

// Nearest is the known name that name is likeliest a misspelling of, or "".
func Nearest(name string, known []string) string {
	known = slices.DeleteFunc(slices.Clone(known), func(k string) bool { return len(k) < shortest })
	slices.Sort(known)
	if len(name) < shortest {
		return ""
	}
	match, _ := suggest.Search(name, known, false)
	return match
}
