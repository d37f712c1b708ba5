// Package lint checks a Dockerfile by BuildKit's rules and tells what it offers: its
// targets, arguments and secrets.
//
// The rules are those of BuildKit's linter package, which also names, words and
// silences them. Those that BuildKit applies while it converts a Dockerfile are applied
// here under the same conditions, by a walk over the plan, whose scopes have the values
// of variables. Nothing is read or built. What a base image sets is asked of the caller;
// nothing that it may set is reported while that is not known.
package lint

import (
	"fmt"
	"slices"

	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/patternmatcher"

	"github.com/oakum-build/oakum/builder/bytetext"
	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// Checks are the settings of a file's checks, with what its parser has found.
type Checks struct {
	// Strict says that a build whose checks find something is to fail: error=true.
	Strict bool

	linter *linter.Linter
	parsed []Finding
}

// Options is what the findings depend on beside the plan.
type Options struct {
	// Ignore are the patterns of the context's ignore file.
	Ignore []string
	// Stages are those that are looked into; nil is all.
	Stages []*plan.Stage
	// Base tells what the base image of a stage sets. When ask is false it is only to tell
	// what is known already. Nil knows nothing.
	Base func(s *plan.Stage, ask bool) (Base, bool)
}

// Base is what a base image sets.
type Base struct {
	Env, Shell []string
	OS, Arch   string   // "" is not known
	OnBuild    []string // its triggers
}

// Finding is a rule that something in the Dockerfile breaks.
type Finding struct {
	Rule        string
	Description string // of the rule
	URL         string // of the rule's page; may be ""
	Detail      string // what is wrong here
	Line, End   int    // from 1; 0 when it has no place
}

// argument is the build argument that overrides the file's own directive.
const argument = "BUILDKIT_DOCKERFILE_CHECK"

// New reads the settings of the checks: of the build argument, else of the file's
// directive "# check=". With an error, a *plan.Fault, it gives checks that find nothing.
func New(text []byte, args map[string]string) (*Checks, error) {
	setting, _, location, _ := parser.ParseDirective("check", text)
	if value, ok := args[argument]; ok {
		setting, location = value, nil
	}
	config, err := linter.ParseLintOptions(setting)
	if err != nil {
		f := &plan.Fault{Err: fmt.Errorf("check=%s: %w", setting, err)}
		f.Hint = "the options are skip=RULE,…|all, experimental=RULE,…|all and error=true, separated by semicolons"
		f.Line, f.End = lines(location)
		return &Checks{linter: linter.New(&linter.Config{})}, f
	}
	c := &Checks{Strict: config.ReturnAsError}
	config.Warn = into(&c.parsed)
	c.linter = linter.New(config)
	return c, nil
}

// Linter is what the file's parser is to tell what it finds.
func (c *Checks) Linter() *linter.Linter { return c.linter }

// into makes a linter's sink of a list.
func into(list *[]Finding) linter.LintWarnFunc {
	return func(rule, description, url, detail string, location []parser.Range) {
		f := Finding{Rule: rule, Description: description, URL: url, Detail: detail}
		f.Line, f.End = lines(location)
		*list = append(*list, f)
	}
}

// reporting is the checks' linter with another list.
func (c *Checks) reporting(list *[]Finding) *linter.Linter {
	l := *c.linter
	if l.Warn != nil {
		l.Warn = into(list)
	}
	return &l
}

// Look looks at all of a plan, whether or not it has a fault, and gives what breaks a rule,
// in the order of the lines, and the outline of the plan's target. A file that cannot be
// parsed has no plan: nil.
func (c *Checks) Look(p *plan.Plan, opts Options) ([]Finding, Outline) {
	findings := slices.Clone(c.parsed)
	var outline Outline
	if p != nil {
		w := &walk{Options: opts, plan: p, lint: c.reporting(&findings), header: map[string]arg{}}
		w.readIgnore()
		w.run()
		outline = w.outline()
	}
	slices.SortStableFunc(findings, func(a, b Finding) int { return a.Line - b.Line })
	return findings, outline
}

// walk is one walk over a plan.
type walk struct {
	Options
	plan   *plan.Plan
	lint   *linter.Linter
	header map[string]arg // the arguments that an ARG before the first FROM names
	stages []*stage
	ignore *patternmatcher.PatternMatcher // nil when it hides nothing for certain
}

func (w *walk) readIgnore() {
	if len(w.Ignore) == 0 {
		return
	}
	// A pattern with "!" may bring back a file of a directory that is ignored.
	patterns := make([]string, len(w.Ignore))
	for i, p := range w.Ignore {
		patterns[i] = bytetext.Encode(p)
	}
	if m, err := patternmatcher.New(patterns); err == nil && !m.Exclusions() {
		w.ignore = m
	}
}

func (w *walk) run() {
	w.stageNames()
	w.casing()
	w.defaultBases()
	for _, a := range w.plan.Header {
		w.header[a.Name] = headerArg(a, w.header[a.Name])
	}
	known := w.plan.FromNames()
	for _, s := range w.plan.Stages {
		w.from(s, known)
	}
	for _, s := range w.stages {
		if w.Stages == nil || slices.Contains(w.Stages, s.Stage) {
			w.commands(s)
		}
	}
}

// lines gives the first and the last of a location's lines.
func lines(location []parser.Range) (first, last int) {
	for i, r := range location {
		if i == 0 || r.Start.Line < first {
			first = r.Start.Line
		}
		last = max(last, r.Start.Line, r.End.Line)
	}
	return first, last
}

// ruleCommandCannotRun is not one of BuildKit's, but is silenced like them.
var ruleCommandCannotRun = linter.LinterRule[func(string) string]{
	Name:        "CommandCannotRun",
	Description: "The command of the image should be able to run in it",
	Format:      func(problem string) string { return "The command of the image cannot run: " + problem },
}

// Command makes findings of the problems of the image's command, unless they are to be
// silent. They are about the instruction at; one without a Command is a FROM.
func (c *Checks) Command(at plan.Command, problems []string) (findings []Finding) {
	l := c.reporting(&findings)
	if at.Command != nil {
		l = l.WithMergedConfigFromComments(at.Comments())
	}
	location := []parser.Range{{Start: parser.Position{Line: at.Line}, End: parser.Position{Line: at.End}}}
	for _, p := range problems {
		l.Run(&ruleCommandCannotRun, location, ruleCommandCannotRun.Format(p))
	}
	return findings
}
