package plan

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// addStage resolves a FROM and appends its stage to the plan.
func (p *Plan) addStage(st *instructions.Stage, after []string) error {
	s := &Stage{Index: len(p.Stages), Name: st.Name, Source: st.SourceCode, Platform: p.platform}
	s.Line, s.End = lines(st.Location)
	if s.Name == "" {
		s.Name = strconv.Itoa(s.Index)
	}
	if st.Platform != "" {
		var err error
		if s.Platform, err = p.stagePlatform(st.Platform); err != nil {
			return &Fault{Line: s.Line, End: s.End, Err: fmt.Errorf("FROM --platform=%s: %w", st.Platform, err)}
		}
	}
	if _, replaced := p.contextOf(st.Name, s.Platform); replaced {
		s.replaced = true
		p.substitute(s, st.Name)
		p.Stages = append(p.Stages, s)
		return nil
	}
	if err := p.waitFor(s, after); err != nil {
		return err
	}
	lex := p.lexer()
	base, _, err := lex.ProcessWord(st.BaseName, p.globals)
	if s.Index == 0 && p.opts.From != "" {
		base, err, s.Given = p.opts.From, nil, true
	}
	if err != nil {
		return &Fault{Line: s.Line, End: s.End, Err: err}
	}
	if base == "" {
		f := fault(s.Line, s.End, "FROM %s: the base name is blank", st.BaseName)
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
	p.Stages = append(p.Stages, s)
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
func (p *Plan) addCommands(s *Stage, commands []instructions.Command) error {
	if s.Base != nil {
		s.early = s.Base.early
	}
	s.early = p.Scope(s.early, nil)
	if s.replaced {
		return nil
	}
	if s.Base != nil {
		triggers, err := p.triggers(s, s.early, s.Base.onbuild())
		if err != nil {
			return err
		}
		s.Commands = triggers
	}
	for _, ic := range commands {
		c := Command{Command: ic, Source: sourceOf(ic)}
		c.Line, c.End = lines(ic.Location())
		if err := p.resolveFrom(s, s.early, &c); err != nil {
			return &Fault{Line: c.Line, End: c.End, Err: err, Hint: p.fromHint(err)}
		}
		s.early.learn(ic)
		s.Commands = append(s.Commands, c)
	}
	return nil
}

// sourceOf is an instruction as written.
func sourceOf(c instructions.Command) string {
	if s, ok := c.(fmt.Stringer); ok {
		return s.String()
	}
	return strings.ToUpper(c.Name())
}

// noStage is a --from that names no stage before this one.
type noStage struct{ name, why string }

func (e noStage) Error() string { return fmt.Sprintf("COPY --from=%s: %s", e.name, e.why) }

// fromHint helps with an error of resolveFrom.
func (p *Plan) fromHint(err error) string {
	if e, ok := err.(noStage); ok {
		return didYouMean(e.name, p.names())
	}
	return ""
}

// resolveFrom finds what COPY --from names, with the variables in scope: a stage before
// s by name or index, else an image. BuildKit takes no variables there, Buildah does.
func (p *Plan) resolveFrom(s *Stage, scope *Scope, c *Command) error {
	cp, ok := c.Command.(*instructions.CopyCommand)
	if !ok || cp.From == "" {
		return nil
	}
	name, err := scope.fromWord(cp.From)
	if err != nil {
		return fmt.Errorf("COPY --from=%s: %w", cp.From, err)
	}
	if from := p.named(name, s.Index); from != nil {
		c.From = from
		return nil
	}
	index, err := strconv.Atoi(name)
	if err != nil {
		return p.fromLaterOrImage(s, c, name)
	}
	switch {
	case index < 0 || index >= len(p.Stages):
		return noStage{name, fmt.Sprintf("there is no stage %d; the stages are 0 to %d", index, len(p.Stages)-1)}
	case index == s.Index:
		return noStage{name, "the stage refers to itself"}
	case index > s.Index:
		return noStage{name, fmt.Sprintf("the stage is defined after this one, in line %d", p.Stages[index].Line)}
	}
	c.From = p.Stages[index]
	return nil
}

// fromLaterOrImage handles a --from that no stage before s is called.
func (p *Plan) fromLaterOrImage(s *Stage, c *Command, name string) error {
	later := p.named(name, len(p.Stages))
	switch {
	case later == s:
		return noStage{name, "the stage refers to itself"}
	case later != nil:
		return noStage{name, fmt.Sprintf("the stage is defined after this one, in line %d", later.Line)}
	}
	if p.images[name] == nil {
		image := &Stage{Index: -1, Name: name, Line: c.Line, End: c.End, Platform: p.platform}
		p.substitute(image, name)
		p.images[name] = image
	}
	c.From = p.images[name]
	return nil
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
