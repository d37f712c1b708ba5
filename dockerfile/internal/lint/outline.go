package lint

import (
	"cmp"
	"maps"
	"slices"

	"github.com/oakum-build/oakum/dockerfile/internal/plan"
	"github.com/oakum-build/oakum/dockerfile/internal/runflags"
)

// Arg is a build argument that a target takes.
type Arg struct {
	Name        string
	Description string // of the comment "# NAME description" above its ARG
	Value       string // the default, or the build argument
	Line, End   int
}

// Mount is a secret, an SSH agent or a cache that a target's RUN instructions mount.
type Mount struct {
	Name      string
	Required  bool
	Line, End int
}

// Outline is what a target takes, with all that it is built from.
type Outline struct {
	Name        string // the target's; "" when it has none
	Description string // of the comment "# NAME description" above its FROM
	Args        []Arg
	Secrets     []Mount
	SSH         []Mount
	Caches      []Mount
}

// Target is a stage of the Dockerfile.
type Target struct {
	Name, Description string
	Base, Platform    string // as written
	Default           bool   // the last one
	Line, End         int
}

// parameters are what one stage takes.
type parameters struct {
	known                map[string]arg  // the arguments that an ARG of it defines
	used                 map[string]bool // the names of those that it uses
	secrets, ssh, caches []Mount
}

// arg is an argument with those that its default uses.
type arg struct {
	Arg
	uses []string
}

// headerArg makes an argument of the header's, which before named already.
func headerArg(a plan.Arg, before arg) arg {
	return arg{
		Arg:  Arg{Name: a.Name, Description: a.Description, Value: a.Value, Line: a.Line, End: a.End},
		uses: slices.Concat(a.Uses, before.uses),
	}
}

// Targets lists the stages.
func Targets(p *plan.Plan) []Target {
	targets := make([]Target, len(p.Stages))
	for i, stage := range p.Stages {
		s := stage.Parsed
		t := Target{Name: s.Name, Description: s.DocComment, Base: s.BaseName, Platform: s.Platform, Default: i == len(p.Stages)-1}
		t.Line, t.End = stage.Line, stage.End
		targets[i] = t
	}
	return targets
}

// outline gives that of the target; it is blank when there is no such stage.
func (w *walk) outline() Outline {
	if w.plan.Target == nil {
		return Outline{}
	}
	target := w.plan.Target.Parsed
	o := Outline{Name: target.Name, Description: target.DocComment}
	gather{walk: w, outline: &o, stages: map[*plan.Stage]bool{}, args: map[string]bool{}}.stage(w.plan.Target)
	byLine := func(a, b Arg) int { return cmp.Compare(a.Line, b.Line) }
	slices.SortStableFunc(o.Args, byLine)
	for _, list := range [][]Mount{o.Secrets, o.SSH, o.Caches} {
		slices.SortStableFunc(list, func(a, b Mount) int { return cmp.Compare(a.Line, b.Line) })
	}
	return o
}

// gather adds up what stages take; of two definitions the first one found counts.
type gather struct {
	*walk
	outline *Outline
	stages  map[*plan.Stage]bool
	args    map[string]bool
}

func (g gather) stage(p *plan.Stage) {
	if p == nil || p.Index < 0 || g.stages[p] {
		return
	}
	g.stages[p] = true
	s := g.walk.stages[p.Index]
	for _, name := range sortedKeys(s.used) {
		g.arg(s, name)
	}
	o := g.outline
	o.Secrets = add(o.Secrets, s.secrets)
	o.SSH = add(o.SSH, s.ssh)
	o.Caches = add(o.Caches, s.caches)
	g.stage(s.Base)
	for _, c := range s.Commands {
		for _, from := range c.From {
			g.stage(from)
		}
	}
}

// arg adds an argument and those that its default uses.
func (g gather) arg(s *stage, name string) {
	a, known := s.known[name]
	if !known {
		a, known = g.header[name]
	}
	if !known || g.args[name] {
		return
	}
	g.args[name] = true
	g.outline.Args = append(g.outline.Args, a.Arg)
	for _, other := range a.uses {
		g.arg(s, other)
	}
}

// sortedKeys are the keys of a set, in order.
func sortedKeys[V any](set map[string]V) []string { return slices.Sorted(maps.Keys(set)) }

// add appends the mounts whose name is new.
func add(list, more []Mount) []Mount {
	for _, m := range more {
		if !slices.ContainsFunc(list, func(have Mount) bool { return have.Name == m.Name }) {
			list = append(list, m)
		}
	}
	return list
}

// mounts notes what a RUN mounts.
func (i *instruction) mounts() {
	s := i.stage
	mounts, _ := s.scope.Mounts(i.command) // the error is the build's
	for _, m := range mounts {
		found := Mount{Name: m.ID, Required: m.Required, Line: i.command.Line, End: i.command.End}
		switch m.Type {
		case runflags.Secret:
			s.secrets = append(s.secrets, found)
		case runflags.SSH:
			s.ssh = append(s.ssh, found)
		case runflags.Cache:
			s.caches = append(s.caches, found)
		}
	}
}
