package dockerfile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/dockerfile/internal/lint"
	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// ErrChecks is the error, by errors.Is, of a build whose checks found something, when
// the Dockerfile or the build argument BUILDKIT_DOCKERFILE_CHECK says error=true.
var ErrChecks = errors.New("the build checks found something")

// Report is what a Dockerfile tells without being built.
type Report struct {
	File     string    // as given, or its name in the context
	Text     []byte    // with that of Options.File.More, to which Targets and Outline refer
	Findings []Finding // in the order of the lines
	Targets  []Target  // the stages, in the file's order
	Outline  Outline   // of Options.Target
}

// Finding is a rule that something in the Dockerfile breaks: BuildKit's build checks
// (https://docs.docker.com/reference/build-checks/), and CommandCannotRun, which a build
// alone can find.
type Finding struct {
	Rule        string
	Description string // of the rule
	URL         string // of the rule's page; may be ""
	Detail      string // what is wrong here
	File        string // as given
	Line        int    // in it, from 1
	EndLine     int
	Excerpt     string // the lines around it, those meant marked; ends in a newline
}

// Target is a stage that can be built.
type Target struct {
	Name        string // "" when it has none
	Description string // of a comment "# NAME description" above its FROM
	Base        string // as written, and so is Platform
	Platform    string
	Default     bool // it is built when no target is given
	Line        int
	EndLine     int
}

// Outline is what a target takes, with all that it is built from.
type Outline struct {
	Name        string
	Description string
	Args        []Arg
	Secrets     []Mount
	SSH         []Mount
	Caches      []Mount // by their id
}

// Arg is a build argument.
type Arg struct {
	Name        string
	Description string // of a comment "# NAME description" above its ARG
	Value       string // the default, or the build argument given
	Line        int
	EndLine     int
}

// Mount is what RUN --mount names.
type Mount struct {
	Name     string
	Required bool
	Line     int
	EndLine  int
}

// Check applies the build checks and says what the Dockerfile offers, without building
// anything. Without a target it looks at all stages.
//
// A fault that would end a build is an *Error; the report then has what was found
// nevertheless. What a base image may set, and no opts.Open tells, is not reported.
func Check(ctx context.Context, opts Options) (Report, error) {
	return reportOn(ctx, opts, true)
}

// Describe is Check without the checks: the report has no Findings, and no base image is
// asked for.
func Describe(ctx context.Context, opts Options) (Report, error) {
	return reportOn(ctx, opts, false)
}

// opener gives the Builder that open opens, at most once. What opens none says so.
func opener(open func(ctx context.Context) (*builder.Builder, error)) func(ctx context.Context) (*builder.Builder, error) {
	var b *builder.Builder
	return func(ctx context.Context) (_ *builder.Builder, err error) {
		if open == nil {
			return nil, fmt.Errorf("a Dockerfile or context that is not on this machine, without a Builder: %w", errors.ErrUnsupported)
		}
		if b == nil {
			b, err = open(ctx)
		}
		return b, err
	}
}

// reportOn is Check, or Describe.
func reportOn(ctx context.Context, opts Options, check bool) (report Report, err error) {
	if err := opts.validate(); err != nil {
		return Report{}, err
	}
	opts.remember()
	in, err := loadAll(ctx, opener(opts.Open), opts)
	if err != nil {
		return Report{}, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	report = Report{File: in.Name, Text: in.Text}
	look := lint.Options{Ignore: in.Context.Ignore}
	if check {
		if in.checksErr != nil {
			return report, in.locate(in.checksErr, 0, 0, "")
		}
		look.Base = in.asking(ctx, opts)
	}
	platforms := opts.platforms()
	p, planErr := in.plan(opts, platforms[0], nil)
	if opts.Target != "" && planErr == nil {
		look.Stages = p.Needed()
	}
	findings, outline := in.checks.Look(p, look)
	if check {
		for _, platform := range platforms[1:] {
			findings = merge(findings, in.findFor(opts, platform, look))
		}
		report.Findings = in.findings(findings)
	}
	if p == nil {
		return report, planErr
	}
	for _, t := range lint.Targets(p) {
		report.Targets = append(report.Targets, Target{t.Name, t.Description, t.Base, t.Platform, t.Default, t.Line, t.End})
	}
	report.Outline = outlined(outline)
	return report, errors.Join(planErr, ctx.Err())
}

// findFor is what the checks find for another platform.
func (l *loaded) findFor(opts Options, platform string, look lint.Options) []lint.Finding {
	own := *l
	own.parse(opts.args())
	p, err := own.plan(opts, platform, nil)
	look.Stages = nil
	if opts.Target != "" && err == nil {
		look.Stages = p.Needed()
	}
	findings, _ := own.checks.Look(p, look)
	return findings
}

// merge adds what is not there yet, in the order of the lines.
func merge(findings, more []lint.Finding) []lint.Finding {
	for _, f := range more {
		if !slices.Contains(findings, f) {
			findings = append(findings, f)
		}
	}
	slices.SortStableFunc(findings, func(a, b lint.Finding) int { return a.Line - b.Line })
	return findings
}

// asking asks for the configuration of each base image once, when it is needed.
func (l *loaded) asking(ctx context.Context, opts Options) func(s *plan.Stage, ask bool) (lint.Base, bool) {
	known, asked := map[string]lint.Base{}, map[string]bool{}
	return func(s *plan.Stage, ask bool) (lint.Base, bool) {
		if s.Context != "" {
			return lint.Base{}, !l.places[s.Context].HasConfig() // files alone set nothing
		}
		key := s.Image + " " + s.Platform
		if ask && !asked[key] {
			asked[key] = true
			options := builder.StageOptions{Pull: opts.Steps.Pull, Platform: s.Platform}
			if !s.Given {
				options.Below = l.below()
			}
			if config, err := l.configOf(ctx, s.Image, options); err == nil {
				known[key] = lint.Base{Env: config.Env, Shell: config.Shell, OnBuild: config.OnBuild}
			}
		}
		base, ok := known[key]
		return base, ok
	}
}

// configOf is the configuration of an image.
func (l *loaded) configOf(ctx context.Context, image string, opts builder.StageOptions) (builder.Config, error) {
	b, err := l.loader.Builder(ctx)
	if err != nil {
		return builder.Config{}, err
	}
	s, err := b.Stage(ctx, image, opts)
	if err != nil {
		return builder.Config{}, err
	}
	_ = s.Close() // it has changed nothing
	return s.Config(), nil
}

// outlined gives an outline the types of this package.
func outlined(o lint.Outline) Outline {
	out := Outline{Name: o.Name, Description: o.Description}
	for _, a := range o.Args {
		out.Args = append(out.Args, Arg{a.Name, a.Description, a.Value, a.Line, a.End})
	}
	mounts := func(list []lint.Mount) (out []Mount) {
		for _, m := range list {
			out = append(out, Mount{m.Name, m.Required, m.Line, m.End})
		}
		return out
	}
	out.Secrets, out.SSH, out.Caches = mounts(o.Secrets), mounts(o.SSH), mounts(o.Caches)
	return out
}

// findings adds the excerpts.
func (l *loaded) findings(list []lint.Finding) []Finding {
	var out []Finding
	for _, f := range list {
		name, lines, before := l.File(f.Line)
		first, last := f.Line-before, f.End-before
		out = append(out, Finding{
			Rule: f.Rule, Description: f.Description, URL: f.URL, Detail: f.Detail,
			File: name, Line: first, EndLine: last, Excerpt: excerpt(lines, first, last),
		})
	}
	return out
}

// checkEarly fails a build whose checks must find nothing, before anything is pulled.
func (r *building) checkEarly() error {
	if !r.in.checks.Strict {
		return nil
	}
	findings, _ := r.in.checks.Look(r.plan, lint.Options{Ignore: r.in.Context.Ignore, Stages: r.plan.Needed()})
	return r.tell(findings)
}

// check tells what the checks find once all that the target needs is built.
func (r *building) check(ctx context.Context, target *node) error {
	findings, _ := r.in.checks.Look(r.plan, lint.Options{Ignore: r.in.Context.Ignore, Stages: r.plan.Needed(), Base: r.builtFrom})
	problems, err := target.fs.CheckCommand(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil { // no reason to have no image
		r.progress.warn(0, fmt.Sprintf("the command of the image could not be checked: %v", err))
	}
	return r.tell(append(findings, r.in.checks.Command(commandOf(target), problems)...))
}

// builtFrom tells the checks what the base image of a stage of this build sets.
func (r *building) builtFrom(s *plan.Stage, _ bool) (lint.Base, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.nodes[s]
	if n == nil || n.fs == nil {
		return lint.Base{}, false
	}
	return n.original, true
}

// tell makes warnings of findings, and the error that error=true asks for.
func (r *building) tell(findings []lint.Finding) error {
	for _, f := range findings {
		r.progress.found(f)
	}
	if !r.in.checks.Strict || len(findings) == 0 {
		return nil
	}
	var rules []string
	for _, f := range findings {
		rules = append(rules, f.Rule)
	}
	slices.Sort(rules)
	first := findings[0]
	err := fmt.Errorf("%w: %s", ErrChecks, strings.Join(slices.Compact(rules), ", "))
	return r.in.locate(err, first.Line, first.End, "check=error=true makes the findings errors")
}

// commandOf finds the instruction that set the command of a stage's image, or gives its
// FROM, without an instruction, when that came with the base image.
func commandOf(n *node) plan.Command {
	isEntrypoint := len(n.fs.Config().Entrypoint) > 0
	for s := n.Stage; s != nil; s = s.Base {
		for _, c := range slices.Backward(s.Commands) {
			name := strings.ToUpper(c.Name())
			if (isEntrypoint && name == "ENTRYPOINT") || (!isEntrypoint && name == "CMD") {
				return c
			}
		}
	}
	return plan.Command{Line: n.Line, End: n.End}
}

// baseOf is what a stage that was just opened has from its image, for the checks.
func baseOf(fs *builder.Stage, config builder.Config) lint.Base {
	platform := fs.Platform()
	os, arch, _ := strings.Cut(platform, "/")
	return lint.Base{Env: config.Env, Shell: config.Shell, OnBuild: config.OnBuild, OS: os, Arch: arch}
}
