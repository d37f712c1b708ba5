package lint

import (
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/util/suggest"

	"github.com/oakum-build/oakum/builder/bytetext"
	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// commands looks at the instructions of a stage, after the triggers of its base.
func (w *walk) commands(s *stage) {
	w.begin(s)
	if s.base == nil {
		if base, known := w.baseOf(s, false); known {
			triggers, _ := w.plan.Triggers(s.Stage, base.OnBuild) // the errors are the build's
			for _, c := range triggers {
				w.command(s, c)
			}
		}
	}
	for _, c := range s.Commands {
		w.command(s, c)
	}
}

// assume takes what triggers set, which nobody has looked at, for known.
func (w *walk) assume(s *stage, triggers []string) {
	commands, _ := w.plan.Triggers(s.Stage, triggers)
	for _, c := range commands {
		switch c := c.Command.(type) {
		case *instructions.EnvCommand:
			for _, kv := range c.Env {
				s.assumed = append(s.assumed, kv.Key)
			}
		case *instructions.ArgCommand:
			for _, kv := range c.Args {
				s.assumed = append(s.assumed, kv.Key)
			}
		case *instructions.WorkdirCommand:
			s.workdir = true
		}
	}
}

// instruction is one instruction of a stage.
type instruction struct {
	*walk
	stage   *stage
	command plan.Command
	lint    *linter.Linter // with the settings of the comment above
}

// command looks at an instruction.
func (w *walk) command(s *stage, c plan.Command) {
	i := &instruction{walk: w, stage: s, command: c, lint: s.lint}
	if !c.Trigger {
		i.lint = w.lint.WithMergedConfigFromComments(c.Comments())
	}
	s.scope.Undefined = i.undefined
	expanded, _ := s.scope.Expand(c) // errors are the build's
	i.check(expanded)
	s.scope.Undefined = nil
}

// report reports a rule of the whole instruction.
func (i *instruction) report(rule linter.LinterRuleI, detail string) {
	i.lint.Run(rule, i.command.Location(), detail)
}

// undefined reports variables that are not defined, unless the base image may define them.
// When that has been asked for, the word is to be done again.
func (i *instruction) undefined(names []string) (again bool) {
	s := i.stage
	names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(s.assumed, name) })
	if len(names) == 0 {
		return false
	}
	if s.partial {
		return i.complete(s)
	}
	for _, name := range names {
		meant, _ := suggest.Search(name, s.scope.Names(), true)
		i.report(&linter.RuleUndefinedVar, linter.RuleUndefinedVar.Format(name, meant))
	}
	return false
}

// check looks at the instruction, whose variables are replaced, and does what it does to
// those of the stage.
func (i *instruction) check(expanded instructions.Command) {
	s := i.stage
	switch ic := expanded.(type) {
	case *instructions.ArgCommand:
		for _, kv := range ic.Args {
			i.arg(kv)
		}
	case *instructions.EnvCommand:
		for _, kv := range ic.Env {
			i.legacy(kv)
			i.secretKey("ENV", kv.Key)
			s.scope.Set(kv.Key, kv.Value)
		}
	case *instructions.LabelCommand:
		for _, kv := range ic.Labels {
			i.legacy(kv)
		}
	case *instructions.WorkdirCommand:
		if !s.workdir && !path.IsAbs(ic.Path) {
			i.report(&linter.RuleWorkdirRelativePath, linter.RuleWorkdirRelativePath.Format(ic.Path))
		}
		s.workdir = true
	case *instructions.ShellCommand:
		s.shell = true
	case *instructions.CmdCommand:
		i.last(ic.PrependShell)
	case *instructions.EntrypointCommand:
		i.last(ic.PrependShell)
	case *instructions.HealthCheckCommand:
		i.last(false)
	case *instructions.ExposeCommand:
		i.expose(ic)
	case *instructions.CopyCommand:
		if ic.From == "" {
			i.copy("Copy", ic.SourcePaths)
		}
	case *instructions.AddCommand:
		i.copy("Add", ic.SourcePaths)
	case *instructions.RunCommand:
		i.mounts()
	}
}

// legacy reports a pair that is written without "=".
func (i *instruction) legacy(kv instructions.KeyValuePair) {
	if kv.NoDelim {
		i.report(&linter.RuleLegacyKeyValueFormat, linter.RuleLegacyKeyValueFormat.Format(i.command.Name()))
	}
}

func (i *instruction) secretKey(instruction, key string) {
	if secret(key) {
		i.report(&linter.RuleSecretsUsedInArgOrEnv, linter.RuleSecretsUsedInArgOrEnv.Format(instruction, key))
	}
}

// arg does what ARG does to a stage's variables.
func (i *instruction) arg(kv instructions.KeyValuePairOptional) {
	i.secretKey("ARG", kv.Key)
	s := i.stage
	value, _ := s.scope.DeclareOne(kv)
	s.used[kv.Key] = true
	if value.Header {
		return
	}
	a := arg{Arg: Arg{Name: kv.Key, Description: kv.DocComment, Line: i.command.Line, End: i.command.End}}
	if value.Set {
		a.Value = value.Text
	}
	s.known[kv.Key] = a
}

// last looks at an instruction of which a stage's last one counts. The one before is
// reported: it has no effect.
func (i *instruction) last(shellForm bool) {
	name := strings.ToLower(i.command.Name())
	if before, ok := i.stage.once[name]; ok {
		i.lint.Run(&linter.RuleMultipleInstructionsDisallowed, before,
			linter.RuleMultipleInstructionsDisallowed.Format(i.command.Name()))
	}
	i.stage.once[name] = i.command.Location()
	if shellForm && !i.stage.shell {
		i.report(&linter.RuleJSONArgsRecommended, linter.RuleJSONArgsRecommended.Format(i.command.Name()))
	}
}

// expose looks at the ports of EXPOSE, [[ip:]host:]port[/protocol].
func (i *instruction) expose(c *instructions.ExposeCommand) {
	for _, word := range c.Ports {
		specs, err := i.stage.scope.Words(word)
		if err != nil {
			continue
		}
		for _, spec := range specs {
			colon := strings.LastIndexByte(spec, ':')
			_, protocol, _ := strings.Cut(spec[colon+1:], "/")
			if protocol != strings.ToLower(protocol) {
				i.report(&linter.RuleExposeProtoCasing, linter.RuleExposeProtoCasing.Format(spec))
			}
			if colon > 0 {
				i.report(&linter.RuleExposeInvalidFormat, linter.RuleExposeInvalidFormat.Format(spec))
			}
		}
	}
}

// copy looks at the sources of COPY or ADD in the build context.
func (i *instruction) copy(verb string, sources []string) {
	if i.ignore == nil {
		return
	}
	for _, source := range sources {
		if git, file, _ := plan.Remote(source); git || file {
			continue
		}
		source = filepath.Clean(source)
		if (source == "." || source == "/") && !i.ignoresAll() {
			continue
		}
		if ignored, err := i.ignore.MatchesOrParentMatches(bytetext.Encode(source)); err == nil && ignored {
			i.report(&linter.RuleCopyIgnoredFile, linter.RuleCopyIgnoredFile.Format(verb, source))
		}
	}
}

// ignoresAll says that a pattern hides all of the context.
func (w *walk) ignoresAll() bool {
	return slices.ContainsFunc(w.Ignore, func(pattern string) bool {
		return slices.Contains([]string{"*", "**", "**/*"}, strings.TrimPrefix(pattern, "/"))
	})
}
