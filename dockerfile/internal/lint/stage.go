package lint

import (
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	"github.com/moby/buildkit/util/suggest"

	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// scratch is the base without files.
const scratch = "scratch"

// stage is a stage with what is known of it so far.
type stage struct {
	*plan.Stage
	lint *linter.Linter // with the settings of the comment above FROM
	base *stage         // nil for an image

	// What follows is that of the base at least, once there is a scope.
	scope   *plan.Scope
	partial bool     // the base image may set variables that scope does not have
	assumed []string // the names that triggers of the base image set
	shell   bool     // SHELL, or the base image, sets one
	workdir bool     // WORKDIR stood in this stage or in one below
	once    map[string][]parser.Range

	parameters
}

// from looks at a FROM, which may use the variables that are known.
func (w *walk) from(st *plan.Stage, known []string) {
	s := &stage{Stage: st, once: map[string][]parser.Range{}}
	s.lint = w.lint.WithMergedConfigFromComments(st.Parsed.Comments)
	s.used, s.known = map[string]bool{}, map[string]arg{}
	if st.Base != nil {
		s.base = w.stages[st.Base.Index]
	}
	w.stages = append(w.stages, s)
	for _, word := range []shell.ProcessWordResult{st.BaseWord, st.PlatformWord} {
		s.undeclared(word.Unmatched, known)
		for name := range word.Matched {
			s.used[name] = true
		}
	}
	if st.PlatformWord.Result != "" {
		w.platform(s)
	}
}

// undeclared reports the variables of a FROM that nothing declares.
func (s *stage) undeclared(names map[string]struct{}, known []string) {
	for _, name := range sortedKeys(names) {
		if !slices.Contains(known, name) {
			meant, _ := suggest.Search(name, known, true)
			s.lint.Run(&linter.RuleUndefinedArgInFrom, s.Parsed.Location, linter.RuleUndefinedArgInFrom.Format(name, meant))
		}
	}
}

// platform looks at the value of a FROM --platform.
func (w *walk) platform(s *stage) {
	word := s.PlatformWord
	if len(word.Matched)+len(word.Unmatched) == 0 {
		p, err := platforms.Parse(word.Result)
		if err == nil && !strings.Contains(s.Parsed.Name, p.OS) && !strings.Contains(s.Parsed.Name, p.Architecture) {
			s.lint.Run(&linter.RuleFromPlatformFlagConstDisallowed, s.Parsed.Location,
				linter.RuleFromPlatformFlagConstDisallowed.Format(word.Result))
		}
		return
	}
	const target = "TARGETPLATFORM"
	_, matched := word.Matched[target]
	if matched && len(word.Matched) == 1 && len(word.Unmatched) == 0 && word.Result == w.plan.Global(target) {
		s.lint.Run(&linter.RuleRedundantTargetPlatform, s.Parsed.Location,
			linter.RuleRedundantTargetPlatform.Format(s.Parsed.Platform))
	}
}

// begin gives a stage what its base has.
func (w *walk) begin(s *stage) {
	if s.scope != nil {
		return
	}
	if b := s.base; b != nil {
		w.begin(b) // when it is not looked into itself
		s.scope, s.assumed = w.plan.Scope(b.scope, nil), slices.Clone(b.assumed)
		s.partial, s.shell, s.workdir = b.partial, b.shell, b.workdir
		return
	}
	base, known := w.baseOf(s, false)
	s.partial, s.shell = s.Image != scratch && !known, len(base.Shell) > 0
	s.scope = w.plan.Scope(nil, base.Env)
	if _, ok := s.scope.Get("PATH"); !ok {
		s.scope.Set("PATH", plan.DefaultPath)
	}
	w.basePlatform(s, base)
}

// baseOf asks what the base image of a stage, or of those that it starts from, sets.
func (w *walk) baseOf(s *stage, ask bool) (Base, bool) {
	for s.base != nil {
		s = s.base
	}
	if w.Base == nil || s.Image == scratch || s.Image == "" {
		return Base{}, false
	}
	return w.Base(s.Stage, ask)
}

// complete asks for the variables of the base image, and says whether those of the stage
// are known then, which win.
func (w *walk) complete(s *stage) bool {
	base, ok := w.baseOf(s, true)
	if !ok {
		return false
	}
	s.partial = false
	for _, e := range base.Env {
		name, value, _ := strings.Cut(e, "=")
		if own, set := s.scope.Get(name); !set || name == "PATH" && own == plan.DefaultPath {
			s.scope.Set(name, value)
		}
	}
	w.assume(s, base.OnBuild)
	return true
}

// basePlatform reports a base image of another platform than what is built. While the
// image is not there, its name may tell.
func (w *walk) basePlatform(s *stage, base Base) {
	if s.Image == scratch || s.Context != "" {
		return
	}
	wanted, err := plan.ParsePlatform(s.Platform)
	if err != nil {
		return
	}
	ref, err := reference.ParseNormalizedNamed(s.Image)
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
	s.lint.Run(&linter.RuleInvalidBaseImagePlatform, s.Parsed.Location, linter.RuleInvalidBaseImagePlatform.Format(
		s.Image, platforms.FormatAll(platforms.Normalize(wanted)), platforms.FormatAll(platforms.Normalize(is))))
}

// hubArch are the organisations of Docker Hub whose images are of one architecture
// each (docker-library/official-images, "Architectures other than amd64?").
var hubArch = map[string]string{
	"amd64": "amd64", "i386": "386", "arm32v5": "arm", "arm32v6": "arm", "arm32v7": "arm",
	"arm64v8": "arm64", "mips64le": "mips64le", "ppc64le": "ppc64le", "riscv64": "riscv64", "s390x": "s390x",
}
