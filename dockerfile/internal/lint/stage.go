package lint

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	"github.com/moby/buildkit/util/suggest"

	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// defaultPath is set in every stage.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// scratch is the base without files.
const scratch = "scratch"

// stage is a stage with what is known of it so far.
type stage struct {
	*instructions.Stage
	lint  *linter.Linter // with the settings of the comment above FROM
	base  *stage         // nil for an image
	image string         // the base image
	// wanted is the platform that the image is taken for; "" when none is asked for
	wanted string

	begun    bool     // the fields below are those of the base at least
	env      []string // variables, as NAME=value
	declared []string // the names that ARG gave
	partial  bool     // the base image may set variables that are not in env
	shell    bool     // SHELL, or the base image, sets one
	workdir  bool     // WORKDIR stood in this stage or in one below
	once     map[string][]parser.Range

	parameters
	needs []*stage // that it copies or mounts from
}

// arg is an argument that the header declares, with those that its default uses.
type arg struct {
	Arg
	uses []string
}

// headerArgs gives the arguments that FROM sees when the build arguments are args, and
// notes in into, unless it is nil, which ones the header declares.
func (c *checker) headerArgs(header []instructions.ArgCommand, args map[string]string, into map[string]arg) []string {
	env := slices.Clone(c.globals)
	for _, command := range header {
		for _, kv := range command.Args {
			a := arg{Arg: Arg{Name: kv.Key, Description: kv.DocComment}}
			a.Line, a.End = lines(command.Location())
			value, set := args[kv.Key]
			if !set && kv.Value != nil {
				match, err := c.lex.ProcessWordWithMatches(*kv.Value, shell.EnvsFromSlice(env))
				if err != nil {
					continue // an error of the build
				}
				value, set = match.Result, true
				a.uses = slices.Sorted(maps.Keys(match.Matched))
				a.uses = append(a.uses, into[kv.Key].uses...)
			}
			if set {
				env = plan.SetEnv(env, kv.Key, value)
				a.Value = value
			}
			if into != nil {
				into[kv.Key] = a
			}
		}
	}
	return env
}

// from looks at a FROM.
func (c *checker) from(st *instructions.Stage) {
	s := &stage{Stage: st, once: map[string][]parser.Range{}}
	s.lint = c.lint.WithMergedConfigFromComments(st.Comments)
	s.used, s.known = map[string]bool{}, maps.Clone(c.header)
	defer func() { c.stages = append(c.stages, s) }()
	name, err := c.lex.ProcessWordWithMatches(st.BaseName, shell.EnvsFromSlice(c.globals))
	c.undeclared(s, name.Unmatched)
	if err != nil {
		return
	}
	s.use(name.Matched)
	if s.base = c.find(name.Result); s.base == nil {
		s.image = name.Result
	}
	if c.Platform != "" {
		s.wanted = platforms.Format(c.target)
	}
	if st.Platform == "" {
		return
	}
	platform, err := c.lex.ProcessWordWithMatches(st.Platform, shell.EnvsFromSlice(c.globals))
	c.undeclared(s, platform.Unmatched)
	if err == nil {
		if p, err := plan.ParsePlatform(platform.Result); err == nil && platform.Result != "" {
			s.wanted = platforms.Format(p)
		}
		s.use(platform.Matched)
		c.platform(s, platform)
	}
}

// find gives the last of the stages so far that has this name, or this index.
func (c *checker) find(name string) *stage {
	for _, s := range slices.Backward(c.stages) {
		if s.Name != "" && strings.EqualFold(s.Name, name) {
			return s
		}
	}
	if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(c.stages) {
		return c.stages[i]
	}
	return nil
}

// undeclared reports the variables of a FROM that nothing declares.
func (c *checker) undeclared(s *stage, names map[string]struct{}) {
	known := slices.Collect(maps.Keys(c.header))
	for _, e := range c.globals {
		name, _, _ := strings.Cut(e, "=")
		known = append(known, name)
	}
	slices.Sort(known)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if !slices.Contains(known, name) {
			meant, _ := suggest.Search(name, known, true)
			s.lint.Run(&linter.RuleUndefinedArgInFrom, s.Location, linter.RuleUndefinedArgInFrom.Format(name, meant))
		}
	}
}

// platform looks at a FROM --platform, whose value is match.
func (c *checker) platform(s *stage, match shell.ProcessWordResult) {
	if len(match.Matched)+len(match.Unmatched) == 0 {
		p, err := platforms.Parse(match.Result)
		if err == nil && !strings.Contains(s.Name, p.OS) && !strings.Contains(s.Name, p.Architecture) {
			s.lint.Run(&linter.RuleFromPlatformFlagConstDisallowed, s.Location,
				linter.RuleFromPlatformFlagConstDisallowed.Format(match.Result))
		}
		return
	}
	const target = "TARGETPLATFORM"
	_, matched := match.Matched[target]
	value, _ := plan.Lookup(c.globals, target)
	if matched && len(match.Matched) == 1 && len(match.Unmatched) == 0 && match.Result == value {
		s.lint.Run(&linter.RuleRedundantTargetPlatform, s.Location,
			linter.RuleRedundantTargetPlatform.Format(s.Platform))
	}
}

// begin gives a stage what its base has.
func (c *checker) begin(s *stage) {
	if s.begun {
		return
	}
	s.begun = true
	if b := s.base; b != nil {
		c.begin(b) // when it is not looked into itself
		s.env, s.declared = slices.Clone(b.env), slices.Clone(b.declared)
		s.image, s.wanted, s.partial, s.shell, s.workdir = b.image, b.wanted, b.partial, b.shell, b.workdir
		return
	}
	s.partial = s.image != scratch
	base, known := c.baseOf(s, false)
	if known {
		s.partial, s.env, s.shell = false, slices.Clone(base.Env), len(base.Shell) > 0
	}
	s.env = withPath(s.env)
	if s.image != scratch {
		c.basePlatform(s, base)
	}
}

// baseOf asks what the base image of a stage sets.
func (c *checker) baseOf(s *stage, ask bool) (Base, bool) {
	if c.Base == nil || s.image == scratch || s.image == "" {
		return Base{}, false
	}
	return c.Base(s.image, s.wanted, ask)
}

// complete asks for the variables of the base image, and says whether the stage's are
// known then. Those of the stage itself win.
func (c *checker) complete(s *stage) bool {
	if !s.partial {
		return true
	}
	base, ok := c.baseOf(s, true)
	if !ok {
		return false
	}
	env := slices.Clone(base.Env)
	for _, e := range s.env {
		if name, value, _ := strings.Cut(e, "="); e != defaultPath {
			env = plan.SetEnv(env, name, value)
		}
	}
	for _, ic := range parseTriggers(s, base.OnBuild) { // which nobody has looked at
		switch ic := ic.(type) {
		case *instructions.EnvCommand:
			for _, kv := range ic.Env {
				s.declared = append(s.declared, kv.Key)
			}
		case *instructions.ArgCommand:
			for _, kv := range ic.Args {
				s.declared = append(s.declared, kv.Key)
			}
		case *instructions.WorkdirCommand:
			s.workdir = true
		}
	}
	s.env, s.partial = withPath(env), false
	return true
}

// withPath sets the default PATH where there is none.
func withPath(env []string) []string {
	if _, ok := plan.Lookup(env, "PATH"); ok {
		return env
	}
	return append(env, defaultPath)
}

// hubArch are the organisations of Docker Hub whose images are of one architecture
// each (docker-library/official-images, "Architectures other than amd64?").
var hubArch = map[string]string{
	"amd64": "amd64", "i386": "386", "arm32v5": "arm", "arm32v6": "arm", "arm32v7": "arm",
	"arm64v8": "arm64", "mips64le": "mips64le", "ppc64le": "ppc64le", "riscv64": "riscv64", "s390x": "s390x",
}

// basePlatform reports a base image of another platform than what is built. While the
// image is not there, its name may tell.
func (c *checker) basePlatform(s *stage, base Base) {
	wanted, err := plan.ParsePlatform(s.wanted)
	if err != nil {
		return
	}
	ref, err := reference.ParseNormalizedNamed(s.image)
	if err != nil {
		return
	}
	if base.Arch == "" && reference.Domain(ref) == "docker.io" {
		organisation, _, _ := strings.Cut(reference.Path(ref), "/")
		base.OS, base.Arch = "linux", hubArch[organisation]
	}
	if base.Arch == "" || (base.OS == wanted.OS && base.Arch == wanted.Architecture) {
		return
	}
	is := platforms.Platform{OS: base.OS, Architecture: base.Arch}
	s.lint.Run(&linter.RuleInvalidBaseImagePlatform, s.Location, linter.RuleInvalidBaseImagePlatform.Format(
		s.image, platforms.FormatAll(platforms.Normalize(wanted)), platforms.FormatAll(platforms.Normalize(is))))
}
