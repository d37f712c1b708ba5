package dockerfile

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/oakum-build/oakum/builder/display"
	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

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
func (e *Error) Error() string {
	switch {
	case e.File == "":
		return e.Err.Error()
	case e.Line == 0:
		return e.File + ": " + e.Err.Error()
	}
	return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err)
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// locate makes an *Error of what went wrong in the lines given, unless err has its
// own place.
func (l *loaded) locate(err error, line, end int, hint string) error {
	if err == nil {
		return nil
	}
	var located *Error
	if errors.As(err, &located) {
		return err
	}
	var f *plan.Fault
	if errors.As(err, &f) {
		line, end, hint, err = f.Line, f.End, f.Hint, f.Err
	}
	var advising interface{ Hint() string }
	if hint == "" && errors.As(err, &advising) {
		hint = advising.Hint()
	}
	name, lines, before := l.File(line)
	if line > 0 {
		line, end = line-before, max(end-before, 0)
	}
	return &Error{
		File: name, Line: line, EndLine: end, Hint: hint, Err: err,
		Excerpt: excerpt(lines, line, end),
	}
}

// The bounds of an excerpt, in lines and in bytes of a line.
const (
	excerptAround = 2
	excerptMarked = 20
	excerptWidth  = 200
)

// excerpt shows the lines of a file from first to last, marked, with two on either side.
func excerpt(all []string, first, last int) string {
	if first < 1 || first > len(all) {
		return ""
	}
	last = min(max(first, last), first+excerptMarked-1, len(all))
	var b strings.Builder
	for n := max(1, first-excerptAround); n <= min(len(all), last+excerptAround); n++ {
		mark := "   "
		if n >= first && n <= last {
			mark = ">>>"
		}
		line := strings.TrimRight(fmt.Sprintf(" %3d | %s %s", n, mark, printable(all[n-1])), " ")
		b.WriteString(line + "\n")
	}
	return b.String()
}

// printable makes a line of a file harmless to a terminal and short enough for it.
func printable(line string) string {
	line = strings.NewReplacer("\t", " ", "\r", " ").Replace(plan.Redact(line))
	line = display.Line(line)
	if len(line) <= excerptWidth {
		return line
	}
	cut := excerptWidth
	for !utf8.RuneStart(line[cut]) {
		cut--
	}
	return line[:cut] + "..."
}
