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
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
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
	// none; without EpochOf none has.
	EpochOf func(EpochSource) (*time.Time, error)
	// NoContext says that there are no files to COPY or ADD from.
	NoContext bool
}

// Plan is a Dockerfile with its stages resolved. Its methods may be called from
// many goroutines.
type Plan struct {
	// Stages are the file's stages, in its order.
	Stages []*Stage
	// Target is the stage that was asked for.
	Target *Stage

	// Epoch is the time of SOURCE_DATE_EPOCH; nil without.
	Epoch *time.Time

	opts     Options
	escape   rune
	globals  *Vars
	platform string          // of the options, in its normal form
	declared map[string]bool // arguments that any ARG names

	mu     sync.Mutex
	images map[string]*Stage // what COPY --from takes from images, by reference
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
	// Source is the FROM instruction as written.
	Source string
	// Base is the stage that it starts from; nil when that is Image.
	Base *Stage
	// After are the stages that are built before its image is looked for.
	After []*Stage
	// Image is the reference of the base image, or "scratch". Given says that the options
	// name it, and not the Dockerfile.
	Image string
	Given bool
	// Platform is what its image is taken for: that of its --platform, else of the options,
	// or "".
	Platform string
	// Commands are its instructions, the triggers of a stage that it starts from first.
	Commands []Command

	// Context is the named context, not an image, that it starts from; "" for none.
	Context string

	fault    error  // of its instructions, for when it is needed
	replaced bool   // by a named context, instructions and all
	early    *Scope // its variables as far as they are known without the base image
}

// Command is one instruction.
type Command struct {
	instructions.Command
	// Source is the instruction as written, continuation lines joined.
	Source string
	// Line to End are its lines in the file; those of FROM for a trigger.
	Line, End int
	// From is what COPY --from names; nil without it.
	From *Stage
	// Trigger says that it comes from an ONBUILD of the base.
	Trigger bool
}

// New parses and resolves a Dockerfile. The error is a *Fault.
func New(text []byte, opts Options) (*Plan, error) {
	file, err := parse(text)
	if err != nil {
		return nil, err
	}
	p := &Plan{
		opts:     opts,
		escape:   file.escape,
		declared: map[string]bool{},
		images:   map[string]*Stage{},
	}
	target := opts.Target
	if target == "" {
		target = file.stages[len(file.stages)-1].Name
	}
	platform, err := ParsePlatform(opts.Platform)
	if err != nil {
		return nil, &Fault{Err: err}
	}
	if opts.Platform != "" {
		p.platform = platforms.Format(platform)
	}
	p.globals, err = headerArgs(platformArgs(opts.Args, target, platform), file.header, p.lexer(), opts.Args)
	if err != nil {
		return nil, err
	}
	if err := p.epoch(file); err != nil {
		return nil, err
	}
	p.declare(file)
	for i := range file.stages {
		if err := p.addStage(&file.stages[i], file.after[i]); err != nil {
			return nil, err
		}
	}
	if p.Target, err = p.find(opts.Target); err != nil {
		return nil, err
	}
	for i := range file.stages {
		p.Stages[i].fault = p.addCommands(p.Stages[i], file.stages[i].Commands)
	}
	for _, s := range p.Needed() {
		if err := checkStage(s, p.opts.NoContext); err != nil {
			return nil, err
		}
	}
	return p, nil
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
			visit(c.From)
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
// were.
func (p *Plan) Triggers(s *Stage, triggers []string) ([]Command, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	commands, err := p.triggers(s, p.Scope(nil, nil), triggers)
	if err != nil {
		return nil, err
	}
	for _, c := range commands {
		if err := checkCommand(c, p.opts.NoContext); err != nil {
			return nil, err
		}
		if c.From == nil || c.From.Index < 0 {
			continue
		}
		for _, dep := range p.closure(c.From) {
			if err := checkStage(dep, p.opts.NoContext); err != nil {
				return nil, err
			}
		}
	}
	return commands, nil
}

// lexer makes a lexer of the file's escape character. A lexer belongs to one
// goroutine.
func (p *Plan) lexer() *Lex { return NewLex(p.escape) }

// declare notes the arguments that the file's ARG instructions name.
func (p *Plan) declare(file *file) {
	for _, a := range file.header {
		p.declareArgs(&a)
	}
	for _, s := range file.stages {
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
