// Package lint checks a Dockerfile by BuildKit's rules and tells what it offers: its
// targets, arguments and secrets.
//
// The rules are those of BuildKit's linter package, which also names, words and
// silences them. Those that BuildKit applies while it converts a Dockerfile are applied
// here under the same conditions, by a walk over the stages that keeps their variables
// but neither reads nor builds anything. What a base image sets is asked of the caller;
// nothing that it may set is reported while that is not known.
package lint

import (
	"fmt"
	"slices"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/patternmatcher"

	"github.com/oakum-build/oakum/builder/bytetext"
	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// Options is what the findings depend on beside the Dockerfile.
type Options struct {
	// Target is the stage that is built, by name or index; "" is the last.
	Target string
	// Platform is what is built for; "" is this machine's.
	Platform string
	// Args are the build arguments.
	Args map[string]string
	// Ignore are the patterns of the context's ignore file.
	Ignore []string
	// Needed says whether a stage, by its index, is looked into; nil is always.
	Needed func(index int) bool
	// Base tells what a base image sets that is taken for a platform, "" when none is asked
	// for. When ask is false it is only to tell what is known already. Nil knows nothing.
	Base func(image, platform string, ask bool) (Base, bool)
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

// config reads the settings of the checks: of the build argument, else of the file's
// directive "# check=". An error is a *plan.Fault.
func config(text []byte, args map[string]string) (*linter.Config, error) {
	setting, _, location, _ := parser.ParseDirective("check", text)
	if value, ok := args[argument]; ok {
		setting, location = value, nil
	}
	config, err := linter.ParseLintOptions(setting)
	if err != nil {
		f := &plan.Fault{Err: fmt.Errorf("check=%s: %w", setting, err)}
		f.Hint = "the options are skip=RULE,…|all, experimental=RULE,…|all and error=true, separated by semicolons"
		for _, r := range location {
			f.Line, f.End = r.Start.Line, r.End.Line
		}
		return nil, f
	}
	return config, nil
}

// Strict says whether a build whose checks find something is to fail: error=true. The
// error is a *plan.Fault, of a setting that cannot be read.
func Strict(text []byte, args map[string]string) (bool, error) {
	c, err := config(text, args)
	return err == nil && c.ReturnAsError, err
}

// Check lists what breaks a rule, in the order of the lines. What is wrong with the
// Dockerfile itself is left to package plan: the findings are then those up to there.
// The error is Strict's.
func Check(text []byte, opts Options) ([]Finding, error) {
	c, err := newChecker(text, opts)
	if err != nil {
		return nil, err
	}
	c.run(text)
	slices.SortStableFunc(c.findings, func(a, b Finding) int { return a.Line - b.Line })
	return c.findings, nil
}

// checker is one walk over a Dockerfile.
type checker struct {
	Options
	lint     *linter.Linter
	findings []Finding

	lex     *plan.Lex
	target  platforms.Platform
	globals []string       // the arguments that FROM sees, as NAME=value
	header  map[string]arg // those that an ARG before the first FROM names
	stages  []*stage
	ignore  *patternmatcher.PatternMatcher // nil when it hides nothing for certain
}

func newChecker(text []byte, opts Options) (*checker, error) {
	config, err := config(text, opts.Args)
	if err != nil {
		return nil, err
	}
	c := &checker{Options: opts, header: map[string]arg{}}
	config.Warn = c.warn
	c.lint = linter.New(config)
	if len(opts.Ignore) > 0 {
		// A pattern with "!" may bring back a file of a directory that is ignored.
		patterns := make([]string, len(opts.Ignore))
		for i, p := range opts.Ignore {
			patterns[i] = bytetext.Encode(p)
		}
		if m, err := patternmatcher.New(patterns); err == nil && !m.Exclusions() {
			c.ignore = m
		}
	}
	return c, nil
}

// warn is the linter's sink.
func (c *checker) warn(rule, description, url, detail string, location []parser.Range) {
	f := Finding{Rule: rule, Description: description, URL: url, Detail: detail}
	f.Line, f.End = lines(location)
	c.findings = append(c.findings, f)
}

// run parses the file and looks at all of it.
func (c *checker) run(text []byte) {
	tree, _, err := plan.Tree(text)
	if err != nil {
		return
	}
	for _, w := range tree.Warnings {
		if w.URL == linter.RuleNoEmptyContinuation.URL && w.Location != nil {
			c.lint.Run(&linter.RuleNoEmptyContinuation, []parser.Range{*w.Location}, linter.RuleNoEmptyContinuation.Format())
		}
	}
	stages, header, err := instructions.Parse(tree.AST, c.lint)
	if err != nil || len(stages) == 0 {
		return
	}
	c.lex = plan.NewLex(tree.EscapeToken)
	c.stageNames(stages)
	c.casing(stages)
	target := c.Target
	if target == "" {
		target = stages[len(stages)-1].Name
	}
	if c.target, err = plan.ParsePlatform(c.Platform); err != nil {
		return // the plan's error
	}
	c.globals = plan.PlatformArgs(c.Args, target, c.target)
	c.defaultBases(stages, header)
	c.globals = c.headerArgs(header, c.Args, c.header)
	for i := range stages {
		c.from(&stages[i])
	}
	for i, s := range c.stages {
		if c.Needed == nil || c.Needed(i) {
			c.commands(s)
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

// Place is an instruction that a finding is about.
type Place struct {
	Line, End   int
	Instruction instructions.Command // nil for FROM
}

// Command makes findings of the problems of the image's command, unless they are to be
// silent. The error is Strict's.
func Command(text []byte, opts Options, at Place, problems []string) ([]Finding, error) {
	c, err := newChecker(text, opts)
	if err != nil {
		return nil, err
	}
	lint := c.lint
	if commented, ok := at.Instruction.(interface{ Comments() []string }); ok {
		lint = lint.WithMergedConfigFromComments(commented.Comments())
	}
	location := []parser.Range{{Start: parser.Position{Line: at.Line}, End: parser.Position{Line: at.End}}}
	for _, p := range problems {
		lint.Run(&ruleCommandCannotRun, location, ruleCommandCannotRun.Format(p))
	}
	return c.findings, nil
}
