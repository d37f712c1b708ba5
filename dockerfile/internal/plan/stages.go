package plan

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/oakum-build/oakum/dockerfile/internal/runflags"
)

// resolve finds what a stage, which is not among the plan's yet, starts from and waits for.
func (p *Plan) resolve(s *Stage, after []string) error {
	st := s.Parsed
	s.Line, s.End = lines(st.Location)
	if s.Name == "" {
		s.Name = strconv.Itoa(s.Index)
	}
	var baseErr, platformErr error
	s.BaseWord, baseErr = p.lexer().ProcessWordWithMatches(st.BaseName, p.globals)
	if st.Platform != "" {
		s.PlatformWord, platformErr = p.lexer().ProcessWordWithMatches(st.Platform, p.globals)
		if platformErr == nil {
			platformErr = s.setPlatform(s.PlatformWord.Result)
		}
		if platformErr != nil {
			platformErr = &Fault{Line: s.Line, End: s.End, Err: fmt.Errorf("FROM --platform=%s: %w", st.Platform, platformErr)}
		}
	}
	if _, replaced := p.contextOf(st.Name, s.Platform); replaced {
		s.replaced = true
		p.substitute(s, st.Name)
		return platformErr
	}
	return cmp.Or(platformErr, p.waitFor(s, after), p.resolveBase(s, baseErr))
}

// resolveBase finds the stage or image that a stage starts from. err is what is wrong with
// its name.
func (p *Plan) resolveBase(s *Stage, err error) error {
	base := s.BaseWord.Result
	if s.Index == 0 && p.opts.From != "" {
		base, err, s.Given = p.opts.From, nil, true
	}
	if err != nil {
		return &Fault{Line: s.Line, End: s.End, Err: err}
	}
	if base == "" {
		f := fault(s.Line, s.End, "FROM %s: the base name is blank", s.Parsed.BaseName)
		f.Hint = "FROM sees only the arguments declared before the first FROM; give them a default, or a value by --build-arg"
		return f
	}
	if base == scratch { // which is the target's whatever it says, as in BuildKit
		s.Platform = p.platform
	}
	if s.Base = p.named(base, s.Index); s.Base == nil {
		s.Base = p.numbered(base)
	}
	if s.Base == nil {
		p.substitute(s, base)
	}
	return nil
}

// waitFor resolves the values of --after.
func (p *Plan) waitFor(s *Stage, after []string) error {
	for _, word := range after {
		name, _, err := p.lexer().ProcessWord(word, p.globals)
		if err != nil {
			return &Fault{Line: s.Line, End: s.End, Err: err}
		}
		before := p.named(name, s.Index)
		if before == nil {
			before = p.numbered(name)
		}
		if before == nil {
			f := fault(s.Line, s.End, "FROM --after=%s: no stage above is called so", name)
			f.Hint = didYouMean(name, p.names())
			return f
		}
		s.After = append(s.After, before)
	}
	return nil
}

// named finds the last stage before index end that has this name, in any case.
func (p *Plan) named(name string, end int) *Stage {
	for i := min(end, len(p.Stages)) - 1; i >= 0; i-- {
		if strings.EqualFold(p.Stages[i].Name, name) && !isIndex(name) {
			return p.Stages[i]
		}
	}
	return nil
}

// numbered finds the stage so far that has this index, as buildah does in FROM.
func (p *Plan) numbered(text string) *Stage {
	if i, err := strconv.Atoi(text); err == nil && i >= 0 && i < len(p.Stages) {
		return p.Stages[i]
	}
	return nil
}

// isIndex says that a text is a stage's index: names do not start with a digit.
func isIndex(text string) bool {
	_, err := strconv.Atoi(text)
	return err == nil
}

// find gives the stage of that name or index; "" is the last one.
func (p *Plan) find(target string) (*Stage, error) {
	if target == "" {
		return p.Stages[len(p.Stages)-1], nil
	}
	if s := p.named(target, len(p.Stages)); s != nil {
		return s, nil
	}
	if s := p.numbered(target); s != nil {
		return s, nil
	}
	names := p.names()
	f := fault(0, 0, "target stage %q not found; the stages are %s", target, strings.Join(names, ", "))
	f.Hint = didYouMean(target, names)
	return nil, f
}

// names lists the stages as the user calls them.
func (p *Plan) names() []string {
	names := make([]string, len(p.Stages))
	for i, s := range p.Stages {
		names[i] = s.Name
	}
	return names
}

// addCommands resolves the instructions of a stage, after those of the stages
// before it.
func (p *Plan) addCommands(s *Stage, st parsedStage) {
	if s.Base != nil {
		s.early = s.Base.early
	}
	s.early = p.Scope(s.early, nil)
	if s.replaced {
		return
	}
	if s.Base != nil {
		triggers, err := p.triggers(s, s.early, s.Base.onbuild())
		s.failed(err)
		s.Commands = triggers
	}
	for i, ic := range st.Commands {
		c := Command{Command: ic, Source: sourceOf(ic), node: st.nodes[i], mounts: st.mounts[i]}
		c.Line, c.End = lines(ic.Location())
		if err := p.resolveFrom(s, s.early, &c); err != nil {
			s.failed(&Fault{Line: c.Line, End: c.End, Err: err, Hint: p.hint(err)})
		}
		s.early.learn(ic)
		s.Commands = append(s.Commands, c)
	}
}

// sourceOf is an instruction as written.
func sourceOf(c instructions.Command) string {
	if s, ok := c.(fmt.Stringer); ok {
		return s.String()
	}
	return strings.ToUpper(c.Name())
}

// noStage is a name that is no stage's before this one.
type noStage struct{ flag, name, why string }

func (e noStage) Error() string { return fmt.Sprintf("%s%s: %s", e.flag, e.name, e.why) }

// hint helps with an error of resolveFrom.
func (p *Plan) hint(err error) string {
	var none noStage
	if errors.As(err, &none) {
		return didYouMean(none.name, p.names())
	}
	var advising interface{ Hint() string }
	if errors.As(err, &advising) {
		return advising.Hint()
	}
	return ""
}

// resolveFrom finds what an instruction takes files from, by COPY --from or RUN --mount, with
// the variables in scope, and the rest of its mounts as far as it is known.
func (p *Plan) resolveFrom(s *Stage, scope *Scope, c *Command) error {
	switch ic := c.Command.(type) {
	case *instructions.CopyCommand:
		if ic.From == "" {
			return nil
		}
		from, err := p.fromOf(s, scope, c, "COPY --from=", ic.From)
		c.From = []*Stage{from}
		return err
	case *instructions.RunCommand:
		c.mounts = slices.Concat(p.opts.Mounts, c.mounts)
		var first error
		for _, text := range c.mounts {
			word, err := runflags.From(text)
			if word != "" && err == nil {
				var from *Stage
				from, err = p.fromOf(s, scope, c, "RUN --mount from=", word)
				c.From = append(c.From, from)
			}
			first = cmp.Or(first, err)
		}
		if first != nil {
			return first
		}
		return scope.learnMounts(c)
	}
	return nil
}

// fromOf finds what a flag of an instruction names: a stage before s by name or index, else an
// image. BuildKit takes no variables there, Buildah does in COPY.
func (p *Plan) fromOf(s *Stage, scope *Scope, c *Command, flag, word string) (*Stage, error) {
	name, err := scope.fromWord(word)
	if err != nil {
		return nil, fmt.Errorf("%s%s: %w", flag, word, err)
	}
	if from := p.named(name, s.Index); from != nil {
		return from, nil
	}
	index, err := strconv.Atoi(name)
	if err != nil {
		return p.laterOrImage(s, c, flag, name)
	}
	switch {
	case index < 0 || index >= len(p.Stages):
		return nil, noStage{flag, name, fmt.Sprintf("there is no stage %d; the stages are 0 to %d", index, len(p.Stages)-1)}
	case index == s.Index:
		return nil, noStage{flag, name, "the stage refers to itself"}
	case index > s.Index:
		return nil, noStage{flag, name, fmt.Sprintf("the stage is defined after this one, in line %d", p.Stages[index].Line)}
	}
	return p.Stages[index], nil
}

// laterOrImage handles a name that no stage before s has.
func (p *Plan) laterOrImage(s *Stage, c *Command, flag, name string) (*Stage, error) {
	later := p.named(name, len(p.Stages))
	switch {
	case later == s:
		return nil, noStage{flag, name, "the stage refers to itself"}
	case later != nil:
		return nil, noStage{flag, name, fmt.Sprintf("the stage is defined after this one, in line %d", later.Line)}
	}
	if p.images[name] == nil {
		image := &Stage{Index: -1, Name: name, Line: c.Line, End: c.End, Origin: Origin{Platform: p.platform}}
		p.substitute(image, name)
		p.images[name] = image
	}
	return p.images[name], nil
}

// ImageHint is what may help when the image of s cannot be had: a stage of a
// similar name, or one of that name further down.
func (p *Plan) ImageHint(s *Stage) string {
	if later := p.named(s.Image, len(p.Stages)); later != nil && later != s {
		return fmt.Sprintf("the stage %s is defined after this one, in line %d", later.Name, later.Line)
	}
	var names []string
	for _, other := range p.Stages {
		if other != s {
			names = append(names, other.Name)
		}
	}
	return didYouMean(s.Image, names)
}
