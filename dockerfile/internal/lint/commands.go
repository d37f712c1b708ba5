package lint

import (
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	"github.com/moby/buildkit/util/suggest"

	"github.com/oakum-build/oakum/builder/bytetext"
	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// noEnvArgs are arguments that do not become variables, and may be used without being
// declared.
var noEnvArgs = []string{"BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"}

// commands looks at the instructions of a stage, after the triggers of its base.
func (c *checker) commands(s *stage) {
	c.begin(s)
	for _, ic := range c.triggers(s) {
		c.command(s, ic, s.lint)
	}
	for _, ic := range s.Commands {
		lint := c.lint
		if commented, ok := ic.(interface{ Comments() []string }); ok {
			lint = c.lint.WithMergedConfigFromComments(commented.Comments())
		}
		c.command(s, ic, lint)
	}
}

// triggers parses the ONBUILD triggers of a stage's base, as far as they are known. They
// stand where the FROM does. What is wrong with them is package plan's business.
func (c *checker) triggers(s *stage) (commands []instructions.Command) {
	var texts []string
	if s.base != nil {
		for _, ic := range s.base.Commands {
			if o, ok := ic.(*instructions.OnbuildCommand); ok {
				texts = append(texts, o.Expression)
			}
		}
	} else if base, known := c.baseOf(s, false); known {
		texts = base.OnBuild
	}
	return parseTriggers(s, texts)
}

func parseTriggers(s *stage, texts []string) (commands []instructions.Command) {
	line, end := lines(s.Location)
	for _, text := range texts {
		if ic, err := plan.ParseTrigger(text, line, end); err == nil {
			commands = append(commands, ic)
		}
	}
	return commands
}

func (c *checker) command(s *stage, ic instructions.Command, lint *linter.Linter) {
	i := &instruction{checker: c, stage: s, command: ic, lint: lint}
	i.expand()
	i.check()
}

// instruction is one instruction of a stage.
type instruction struct {
	*checker
	stage   *stage
	command instructions.Command
	lint    *linter.Linter // with the settings of the comment above
}

// report reports a rule of the whole instruction.
func (i *instruction) report(rule linter.LinterRuleI, detail string) {
	i.lint.Run(rule, i.command.Location(), detail)
}

// expand replaces variables, in place, where a build does, and reports those that are
// not defined. Errors are the build's.
func (i *instruction) expand() {
	if _, isArg := i.command.(*instructions.ArgCommand); isArg {
		return
	}
	if e, ok := i.command.(instructions.SupportsSingleWordExpansion); ok {
		_ = e.Expand(func(word string) (string, error) { return i.word(i.lex, word) })
	}
	if e, ok := i.command.(instructions.SupportsSingleWordExpansionRaw); ok {
		raw := plan.NewLex('\\') // here-documents have the shell's escape, not the file's
		raw.SkipProcessQuotes = true
		_ = e.ExpandRaw(func(word string) (string, error) { return i.word(raw, word) })
	}
}

// word replaces the variables in a word.
func (i *instruction) word(lex *plan.Lex, word string) (string, error) {
	result, unmatched, err := lex.ProcessWord(word, shell.EnvsFromSlice(i.stage.env))
	for _, name := range i.stage.declared {
		delete(unmatched, name)
	}
	maps.DeleteFunc(unmatched, func(name string, _ struct{}) bool { return slices.Contains(noEnvArgs, name) })
	if len(unmatched) == 0 {
		return result, err
	}
	if i.stage.partial {
		if i.complete(i.stage) {
			return i.word(lex, word)
		}
		return result, err
	}
	var known []string
	for _, e := range i.stage.env {
		name, _, _ := strings.Cut(e, "=")
		known = append(known, name)
	}
	for _, name := range slices.Sorted(maps.Keys(unmatched)) {
		meant, _ := suggest.Search(name, known, true)
		i.report(&linter.RuleUndefinedVar, linter.RuleUndefinedVar.Format(name, meant))
	}
	return result, err
}

// check looks at the instruction, whose variables are replaced.
func (i *instruction) check() {
	s := i.stage
	switch ic := i.command.(type) {
	case *instructions.ArgCommand:
		for _, kv := range ic.Args {
			i.arg(kv)
		}
	case *instructions.EnvCommand:
		for _, kv := range ic.Env {
			i.legacy(kv)
			i.secretKey("ENV", kv.Key)
			s.env = plan.SetEnv(s.env, kv.Key, kv.Value)
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
		i.copy("Copy", ic.From, ic.SourcePaths)
	case *instructions.AddCommand:
		i.copy("Add", "", ic.SourcePaths)
	case *instructions.RunCommand:
		i.mounts(ic)
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
	a := arg{Arg: Arg{Name: kv.Key, Description: kv.DocComment}}
	a.Line, a.End = lines(i.command.Location())
	value, set := i.Args[kv.Key]
	own := set || kv.Value != nil
	switch {
	case set:
	case kv.Value != nil:
		var err error
		value, err = i.word(i.lex, *kv.Value)
		set = err == nil
	default:
		value, set = plan.Lookup(i.globals, kv.Key)
		own = !set
	}
	s.declared = append(s.declared, kv.Key)
	if set && !slices.Contains(noEnvArgs, kv.Key) {
		s.env = plan.SetEnv(s.env, kv.Key, value)
	}
	if set {
		a.Value = value
	}
	s.used[kv.Key] = true
	if own {
		s.known[kv.Key] = a
	}
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
		specs, err := i.lex.ProcessWords(word, shell.EnvsFromSlice(i.stage.env))
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

// copy looks at the sources of COPY or ADD.
func (i *instruction) copy(verb, from string, sources []string) {
	if from != "" {
		i.need(from)
		return
	}
	if i.ignore == nil {
		return
	}
	for _, source := range sources {
		if plan.IsRemote(source) {
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
func (c *checker) ignoresAll() bool {
	return slices.ContainsFunc(c.Ignore, func(pattern string) bool {
		return slices.Contains([]string{"*", "**", "**/*"}, strings.TrimPrefix(pattern, "/"))
	})
}
