// Package plan turns the text of a Dockerfile into stages that are ready to be
// built: it parses with BuildKit's packages, resolves the arguments of the file's
// header, finds what each stage starts from and copies from, puts ONBUILD triggers
// where they run, and leaves out what the target does not need. It reads no file
// and calls no builder, so that all of it can be tested and fuzzed by itself.
//
// Whatever the file asks for that cannot be done yet is found here, before the
// first image is pulled, as an error that matches errors.ErrUnsupported.
//
// The variables of a stage depend on its base image, so their values are worked
// out while it is built, by a [Scope].
package plan

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"

	"github.com/oakum-build/oakum/dockerfile/internal/runflags"
)

// Options is what a plan depends on beside the Dockerfile.
type Options struct {
	// Target is the stage to build, by name in any case, or by index from 0; "" is
	// the last.
	Target string
	// Platform is what the target is built for; "" is this machine's.
	Platform string
	// Args are the values of --build-arg.
	Args map[string]string
	// HostEnv are the proxy variables for RUN where Args has none.
	HostEnv map[string]string
	// From, when not "", replaces the base of the first FROM.
	From string
	// Contexts are the named contexts: for each name the image that it is, or "" when it
	// is something else. They stand for images of that name, and for stages.
	Contexts map[string]string
	// EpochOf gives the time of a source that SOURCE_DATE_EPOCH names, or nil when it has
	// none. Without EpochOf, for checks, no source is asked and the argument stays as it is.
	EpochOf func(EpochSource) (*time.Time, error)
	// NoContext says that there are no files to COPY or ADD from.
	NoContext bool
	// Allow are the entitlements that RUN may use.
	Allow []string
	// Mounts are what each RUN mounts beside what it says itself, in the same words.
	Mounts []string
}

// Plan is a Dockerfile with its stages resolved. Its methods may be called from
// many goroutines.
type Plan struct {
	// Stages are the file's stages, in its order.
	Stages []*Stage
	// Target is the stage that was asked for; nil when there is none of that name.
	Target *Stage
	// Header is what the ARGs before the first FROM name.
	Header []Arg

	// Epoch is the time of SOURCE_DATE_EPOCH; nil without.
	Epoch *time.Time

	file      *File
	opts      Options
	fault     error           // the first one
	automatic *vars           // what FROM sees without any ARG
	globals   *vars           // what FROM sees
	platform  string          // of the options, in its normal form
	declared  map[string]bool // arguments that any ARG names

	mu     sync.Mutex
	images map[string]*Stage // what COPY --from takes from images, by reference
}

// Arg is an argument that an ARG before the first FROM names.
type Arg struct {
	Name        string
	Description string // of a comment "# NAME description" above it
	Value       string
	Uses        []string // the variables that are used by its default
	Line, End   int
}

// Stage is one FROM with its instructions, or, as the source of a COPY --from, an
// image by itself.
type Stage struct {
	// Index is the stage's place in the file, from 0; -1 for an image.
	Index int
	// Name is what the user calls it: the name after AS, else the index, else the image.
	Name string
	// Line to End are the lines of its FROM, or of the COPY that names an image.
	Line, End int
	// Parsed is the FROM as it is written, with its instructions; nil for an image.
	Parsed *instructions.Stage
	// BaseWord and PlatformWord are what the variables make of its base and its --platform.
	BaseWord, PlatformWord shell.ProcessWordResult
	Origin
	// After are the stages that are built before its image is looked for.
	After []*Stage
	// Commands are its instructions, the triggers of a stage that it starts from first. A
	// stage in whose place there is a named context has none.
	Commands []Command

	fault    error  // of its instructions, for when it is needed
	replaced bool   // by a named context, instructions and all
	early    *Scope // its variables as far as they are known without the base image
}

// Origin is what a stage starts from.
type Origin struct {
	// Base is the stage that it is; nil when that is Image.
	Base *Stage
	// Image is the reference of the base image, or "scratch". Given says that the options
	// name it, and not the Dockerfile.
	Image string
	Given bool
	// Context is the named context, not an image, that it is; "" for none.
	Context string
	// Platform is what the image is taken for: that of FROM --platform, else of the options,
	// or "".
	Platform string
}

// Command is one instruction, as it is written; a Scope has the values of its variables.
type Command struct {
	instructions.Command
	// Source is its text, continuation lines joined.
	Source string
	// Line to End are its lines in the file; those of FROM for a trigger.
	Line, End int
	// From is what COPY --from names, or the from= of each RUN --mount that has one, in their order.
	From []*Stage
	// Mounts are those of a RUN as far as they are known without the base image; a Scope has all.
	Mounts []runflags.Mount
	// Trigger says that it comes from an ONBUILD of the base.
	Trigger bool

	mounts []string // as they are written
	node   *parser.Node
}

// Plan resolves the file. The error is a *Fault, the first one, which ends a build; the
// plan then holds what can be told nevertheless, and is for checks alone.
func (file *File) Plan(opts Options) (*Plan, error) {
	p := &Plan{file: file, opts: opts, declared: map[string]bool{}, images: map[string]*Stage{}}
	platform, err := ParsePlatform(opts.Platform)
	if err != nil {
		return p, &Fault{Err: err}
	}
	if opts.Platform != "" {
		p.platform = platforms.Format(platform)
	}
	p.automatic = platformArgs(opts.Args, cmp.Or(opts.Target, file.stages[len(file.stages)-1].Name), platform)
	p.globals = p.automatic.clone()
	p.Header, err = p.headerArgs(p.globals, file.header, opts.Args)
	p.failed(err)
	p.failed(p.epoch())
	p.declare()
	for _, st := range file.stages {
		s := &Stage{Index: len(p.Stages), Name: st.Name, Parsed: st.Stage, Origin: Origin{Platform: p.platform}}
		p.failed(p.resolve(s, st.after))
		p.Stages = append(p.Stages, s)
	}
	p.Target, err = p.find(opts.Target)
	p.failed(err)
	for i, st := range file.stages {
		p.addCommands(p.Stages[i], st)
	}
	for _, s := range p.Needed() {
		p.failed(p.checkStage(s))
	}
	return p, p.fault
}

// failed notes a fault, if err is one.
func (p *Plan) failed(err error) {
	if p.fault == nil {
		p.fault = err
	}
}

// failed notes a fault of the stage's instructions, if err is one.
func (s *Stage) failed(err error) {
	if s.fault == nil {
		s.fault = err
	}
}

// Needed lists the stages of the file that the target needs, itself included, in
// the file's order.
func (p *Plan) Needed() []*Stage {
	return p.closure(p.Target)
}

// closure lists the stages of the file that s needs, itself included, in order.
func (p *Plan) closure(s *Stage) []*Stage {
	seen := map[*Stage]bool{}
	var visit func(*Stage)
	visit = func(s *Stage) {
		if s == nil || seen[s] {
			return
		}
		seen[s] = true
		visit(s.Base)
		for _, before := range s.After {
			visit(before)
		}
		for _, c := range s.Commands {
			for _, from := range c.From {
				visit(from)
			}
		}
	}
	visit(s)
	var needed []*Stage
	for _, s := range p.Stages {
		if seen[s] {
			needed = append(needed, s)
		}
	}
	return needed
}

// Triggers gives the commands of the ONBUILD triggers that s's base image holds.
// They run before s's own. A trigger that copies from a stage needs that stage,
// and what it needs in turn, all of which are checked as the plan's own stages
// were. With an error, a *Fault, they are those that can be read, for checks.
func (p *Plan) Triggers(s *Stage, triggers []string) ([]Command, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	commands, err := p.triggers(s, p.Scope(nil, nil), triggers)
	for _, c := range commands {
		err = cmp.Or(err, p.checkCommand(c))
		for _, from := range c.From {
			for _, dep := range p.closure(from) {
				err = cmp.Or(err, p.checkStage(dep))
			}
		}
	}
	return commands, err
}

// lexer makes a lexer of the file's escape character. A lexer belongs to one
// goroutine.
func (p *Plan) lexer() *lexer { return newLexer(p.file.escape) }

// declare notes the arguments that the file's ARG instructions name.
func (p *Plan) declare() {
	for _, a := range p.file.header {
		p.declareArgs(&a)
	}
	for _, s := range p.file.stages {
		for _, c := range s.Commands {
			p.declareCommand(c)
		}
	}
}

func (p *Plan) declareCommand(c instructions.Command) {
	if a, ok := c.(*instructions.ArgCommand); ok {
		p.declareArgs(a)
	}
}

func (p *Plan) declareArgs(c *instructions.ArgCommand) {
	for _, kv := range c.Args {
		p.declared[kv.Key] = true
	}
}

// Unused lists, in order, the build arguments that nothing of the file or of the
// triggers seen so far declares, each with the declared name that it is likeliest
// meant for, or "".
func (p *Plan) Unused() (names []string, meant map[string]string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return unused(p.opts.Args, slices.Collect(maps.Keys(p.declared)))
}
