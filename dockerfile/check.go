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
	Text     []byte    // with that of Options.MoreFiles, to which Targets and Outline refer
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
	lib := &lateLibrary{open: opts.Open}
	return reportOn(ctx, lib, opts, asking(ctx, lib, opts))
}

// Describe is Check without the checks: the report has no Findings, and no base image is
// asked for.
func Describe(ctx context.Context, opts Options) (Report, error) {
	return reportOn(ctx, &lateLibrary{open: opts.Open}, opts, nil)
}

// lateLibrary is a library that is opened when it is needed.
type lateLibrary struct {
	open func(ctx context.Context) (*builder.Builder, error)
	library
}

func (l *lateLibrary) Stage(ctx context.Context, from string, opts builder.StageOptions) (stage, error) {
	if err := l.ready(ctx); err != nil {
		return nil, err
	}
	return l.library.Stage(ctx, from, opts)
}

func (l *lateLibrary) ReadFile(ctx context.Context, dir, name string, max int) ([]byte, error) {
	if err := l.ready(ctx); err != nil {
		return nil, err
	}
	return l.library.ReadFile(ctx, dir, name, max)
}

// ready opens the library.
func (l *lateLibrary) ready(ctx context.Context) (err error) {
	if l.open == nil {
		return fmt.Errorf("a Dockerfile or context that is not on this machine, without a Builder: %w", errors.ErrUnsupported)
	}
	if l.b == nil {
		l.b, err = l.open(ctx)
	}
	return err
}

// baseOfImage tells what a base image sets, if it is known or may be asked for.
type baseOfImage = func(image, platform string, ask bool) (lint.Base, bool)

// reportOn is Check, over what it needs of package builder. Without base it is Describe.
func reportOn(ctx context.Context, lib backend, opts Options, base baseOfImage) (report Report, err error) {
	if err := opts.validate(); err != nil {
		return Report{}, err
	}
	src, err := loadSource(ctx, lib, opts)
	if err != nil {
		return Report{}, err
	}
	defer func() { err = errors.Join(err, src.close()) }()
	report = Report{File: src.name, Text: src.text}
	p, planErr := plan.New(src.text, opts.plan(src))
	planErr = src.locate(planErr, 0, 0, "")
	check := src.checks(opts)
	if opts.Target != "" && p != nil {
		check.Needed = needs(p)
	}
	if base != nil {
		check.Base = opts.replaced(p, base)
		findings, err := lint.Check(src.text, check)
		if err != nil {
			return report, src.locate(err, 0, 0, "")
		}
		report.Findings = src.findings(findings)
	}
	targets, err := lint.Targets(src.text)
	if err != nil {
		return report, planErr
	}
	for _, t := range targets {
		report.Targets = append(report.Targets, Target{t.Name, t.Description, t.Base, t.Platform, t.Default, t.Line, t.End})
	}
	if outline, ok, err := lint.Describe(src.text, check); err == nil && ok {
		report.Outline = outlined(outline)
	}
	return report, errors.Join(planErr, ctx.Err())
}

// asking asks for the configuration of each base image once, when it is needed.
func asking(ctx context.Context, lib backend, opts Options) baseOfImage {
	known, asked := map[string]lint.Base{}, map[string]bool{}
	return func(image, platform string, ask bool) (lint.Base, bool) {
		key := image + " " + platform
		if ask && !asked[key] {
			asked[key] = true
			if s, err := lib.Stage(ctx, image, builder.StageOptions{Pull: opts.Pull, Platform: platform, Below: source{}.below(opts)}); err == nil {
				known[key] = lint.Base{Env: s.Config().Env, Shell: s.Config().Shell, OnBuild: s.Config().OnBuild}
				_ = s.Close() // it has changed nothing
			}
		}
		base, ok := known[key]
		return base, ok
	}
}

// replaced asks for what named contexts put in the place of images. p is nil when the plan
// failed.
func (o Options) replaced(p *plan.Plan, base baseOfImage) baseOfImage {
	return func(image, platform string, ask bool) (lint.Base, bool) {
		if p == nil {
			return base(image, platform, ask)
		}
		instead, context := p.Instead(image, platform)
		if context == "" {
			return base(instead, platform, ask)
		}
		return lint.Base{}, !strings.HasPrefix(o.Contexts[context], ociPrefix) // which sets nothing
	}
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

// checks are the checks' options, but for what depends on a plan.
func (s source) checks(opts Options) lint.Options {
	return lint.Options{Target: opts.Target, Platform: opts.Platform, Args: opts.args(), Ignore: s.ignore}
}

// findings adds the excerpts.
func (s source) findings(list []lint.Finding) []Finding {
	var out []Finding
	for _, f := range list {
		name, text, before := s.place(f.Line)
		first, last := f.Line-before, f.End-before
		out = append(out, Finding{
			Rule: f.Rule, Description: f.Description, URL: f.URL, Detail: f.Detail,
			File: name, Line: first, EndLine: last, Excerpt: excerpt(text, first, last),
		})
	}
	return out
}

// needs says which stages of the file the target needs.
func needs(p *plan.Plan) func(int) bool {
	needed := p.Needed()
	return func(index int) bool {
		return slices.ContainsFunc(needed, func(s *plan.Stage) bool { return s.Index == index })
	}
}

// checkEarly fails a build whose checks must find nothing, before anything is pulled.
func (r *run) checkEarly() error {
	strict, err := lint.Strict(r.src.text, r.opts.args())
	if err != nil {
		return r.src.locate(err, 0, 0, "")
	}
	if r.strict = strict; !strict {
		return nil
	}
	opts := r.src.checks(r.opts)
	opts.Needed = needs(r.plan)
	findings, err := lint.Check(r.src.text, opts)
	if err != nil {
		return r.src.locate(err, 0, 0, "")
	}
	return r.tell(findings)
}

// check tells what the checks find once all that the target needs is built.
func (r *run) check(ctx context.Context, target *node) error {
	opts := r.src.checks(r.opts)
	opts.Needed, opts.Base = needs(r.plan), r.builtFrom
	findings, err := lint.Check(r.src.text, opts)
	if err != nil {
		return r.src.locate(err, 0, 0, "")
	}
	problems, err := target.fs.CheckCommand(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil { // no reason to have no image
		r.progress.warn(0, fmt.Sprintf("the command of the image could not be checked: %v", err))
	}
	if len(problems) > 0 {
		at := commandOf(target)
		more, err := lint.Command(r.src.text, opts, lint.Place{Line: at.Line, End: at.End, Instruction: at.Command}, problems)
		if err != nil {
			return r.src.locate(err, 0, 0, "")
		}
		findings = append(findings, more...)
	}
	return r.tell(findings)
}

// builtFrom tells the checks what a base image of this build sets.
func (r *run) builtFrom(image, platform string, _ bool) (lint.Base, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	image, context := r.plan.Instead(image, platform)
	for s, n := range r.nodes {
		if s.Image == image && s.Context == context && s.Platform == platform && s.Base == nil && s.Index >= 0 && n.fs != nil {
			return n.original, true
		}
	}
	return lint.Base{}, false
}

// tell makes warnings of findings, and the error that error=true asks for.
func (r *run) tell(findings []lint.Finding) error {
	for _, f := range findings {
		r.progress.found(f)
	}
	if !r.strict || len(findings) == 0 {
		return nil
	}
	var rules []string
	for _, f := range findings {
		rules = append(rules, f.Rule)
	}
	slices.Sort(rules)
	first := findings[0]
	err := fmt.Errorf("%w: %s", ErrChecks, strings.Join(slices.Compact(rules), ", "))
	return r.src.locate(err, first.Line, first.End, "check=error=true makes the findings errors")
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
func baseOf(fs stage, config builder.Config) lint.Base {
	platform := fs.Platform()
	os, arch, _ := strings.Cut(platform, "/")
	return lint.Base{Env: config.Env, Shell: config.Shell, OnBuild: config.OnBuild, OS: os, Arch: arch}
}
