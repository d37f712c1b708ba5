package lint

import (
	"cmp"
	"path"
	"slices"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/shell"

	"github.com/oakum-build/oakum/dockerfile/internal/plan"
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
	known                map[string]arg  // the arguments that have a definition
	used                 map[string]bool // the names of those that it uses
	secrets, ssh, caches []Mount
}

// Targets lists the stages. The error is BuildKit's parser's.
func Targets(text []byte) ([]Target, error) {
	tree, _, err := plan.Tree(text)
	if err != nil {
		return nil, err
	}
	stages, _, err := instructions.Parse(tree.AST, plan.Silent())
	if err != nil {
		return nil, err
	}
	targets := make([]Target, len(stages))
	for i, s := range stages {
		t := Target{Name: s.Name, Description: s.DocComment, Base: s.BaseName, Platform: s.Platform, Default: i == len(stages)-1}
		t.Line, t.End = lines(s.Location)
		targets[i] = t
	}
	return targets, nil
}

// Describe gives the outline of the target; ok is false when there is no such stage.
func Describe(text []byte, opts Options) (outline Outline, ok bool, err error) {
	c, err := newChecker(text, opts)
	if err != nil {
		return Outline{}, false, err
	}
	c.run(text)
	if len(c.stages) == 0 {
		return Outline{}, false, nil
	}
	target := c.stages[len(c.stages)-1]
	if opts.Target != "" {
		target = c.find(opts.Target)
	}
	if target == nil {
		return Outline{}, false, nil
	}
	o := Outline{Name: target.Name, Description: target.DocComment}
	gather{outline: &o, stages: map[*stage]bool{}, args: map[string]bool{}}.stage(target)
	byLine := func(a, b Arg) int { return cmp.Compare(a.Line, b.Line) }
	slices.SortStableFunc(o.Args, byLine)
	for _, list := range [][]Mount{o.Secrets, o.SSH, o.Caches} {
		slices.SortStableFunc(list, func(a, b Mount) int { return cmp.Compare(a.Line, b.Line) })
	}
	return o, true, nil
}

// gather adds up what stages take; of two definitions the first one found counts.
type gather struct {
	outline *Outline
	stages  map[*stage]bool
	args    map[string]bool
}

func (g gather) stage(s *stage) {
	if s == nil || g.stages[s] {
		return
	}
	g.stages[s] = true
	names := make([]string, 0, len(s.used))
	for name := range s.used {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		g.arg(s, name)
	}
	o := g.outline
	o.Secrets = add(o.Secrets, s.secrets)
	o.SSH = add(o.SSH, s.ssh)
	o.Caches = add(o.Caches, s.caches)
	g.stage(s.base)
	for _, needed := range s.needs {
		g.stage(needed)
	}
}

// arg adds an argument and those that its default uses.
func (g gather) arg(s *stage, name string) {
	a, known := s.known[name]
	if !known || g.args[name] {
		return
	}
	g.args[name] = true
	g.outline.Args = append(g.outline.Args, a.Arg)
	for _, other := range a.uses {
		g.arg(s, other)
	}
}

// add appends the mounts whose name is new.
func add(list, more []Mount) []Mount {
	for _, m := range more {
		if !slices.ContainsFunc(list, func(have Mount) bool { return have.Name == m.Name }) {
			list = append(list, m)
		}
	}
	return list
}

// use notes the arguments that a FROM names.
func (s *stage) use(names map[string]struct{}) {
	for name := range names {
		s.used[name] = true
	}
}

// need notes that a stage copies or mounts from another one.
func (i *instruction) need(name string) {
	vars := slices.Concat(i.globals, i.stage.env)
	name, _, err := i.lex.ProcessWord(name, shell.EnvsFromSlice(vars))
	if err != nil {
		return
	}
	if other := i.find(name); other != nil && other != i.stage {
		i.stage.needs = append(i.stage.needs, other)
	}
}

// mounts notes what a RUN mounts.
func (i *instruction) mounts(c *instructions.RunCommand) {
	s := i.stage
	for _, m := range instructions.GetMounts(c) {
		found := Mount{Name: m.CacheID, Required: m.Required}
		found.Line, found.End = lines(c.Location())
		switch m.Type {
		case instructions.MountTypeSecret:
			if found.Name = cmp.Or(m.Source, m.CacheID); found.Name == "" {
				found.Name = path.Base(m.Target)
			}
			s.secrets = append(s.secrets, found)
		case instructions.MountTypeSSH:
			found.Name = cmp.Or(m.CacheID, "default")
			s.ssh = append(s.ssh, found)
		case instructions.MountTypeCache:
			found.Name = cmp.Or(m.CacheID, m.Target)
			s.caches = append(s.caches, found)
		}
		if m.From != "" {
			i.need(m.From)
		}
	}
}
