package plan

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/oakum-build/oakum/builder/limits"
	"github.com/oakum-build/oakum/dockerfile/internal/runflags"
)

// Scope is the variables that the instructions of one stage see, as BuildKit keeps
// them: ENV and ARG set the same variables, the later one wins, and a stage starts
// with those of the stage that it is based on. It belongs to one goroutine.
type Scope struct {
	// Undefined, when not nil, is told the names that a word uses and that neither have a
	// value nor are declared. When it has set some, it says so, and the word is done again.
	Undefined func(names []string) (again bool)

	vars     *vars
	declared []string // what ARG named, for RUN's history
	uses     []string // the variables that Expand replaced last
	plan     *Plan
	lex      *lexer
}

// DefaultPath is the PATH of images whose base sets none, as BuildKit writes it.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// noEnvArgs are arguments that do not become variables.
var noEnvArgs = []string{"BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"}

// Scope makes the scope of a stage from that of the stage that it is based on (nil
// for an image) and from its configuration's environment.
func (p *Plan) Scope(base *Scope, env []string) *Scope {
	s := &Scope{vars: newVars(nil), plan: p, lex: p.lexer()}
	if base != nil {
		s.vars = base.vars.clone()
		s.declared = slices.Clone(base.declared)
	}
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		s.vars.Set(name, value)
	}
	return s
}

// Get gives the value of a variable, and whether it is set.
func (s *Scope) Get(name string) (string, bool) { return s.vars.Get(name) }

// Names are the variables that are set.
func (s *Scope) Names() []string { return s.vars.Keys() }

// Declares says whether ARG has named a variable in the stage, or in one that it is based on.
func (s *Scope) Declares(name string) bool { return slices.Contains(s.declared, name) }

// Set does what ENV does to the scope.
func (s *Scope) Set(name, value string) { s.vars.Set(name, value) }

// Declare does what ARG does: the value is the build argument's, else the default,
// else that of the header. It returns the instruction's text with the values that
// it led to.
func (s *Scope) Declare(c *instructions.ArgCommand) (string, error) {
	var text strings.Builder
	text.WriteString("ARG")
	for _, kv := range c.Args {
		value, err := s.DeclareOne(kv)
		if err != nil {
			return "", err
		}
		text.WriteString(" " + kv.Key)
		if value.Set {
			text.WriteString("=" + value.Text)
		}
	}
	return text.String(), nil
}

// Value is what an ARG leads to.
type Value struct {
	Text   string
	Set    bool // it has a value
	Header bool // which is that of an ARG before the first FROM
}

// DeclareOne is Declare for one argument of an ARG.
func (s *Scope) DeclareOne(kv instructions.KeyValuePairOptional) (Value, error) {
	value, err := s.argValue(kv)
	if value.Set && !slices.Contains(noEnvArgs, kv.Key) {
		s.vars.Set(kv.Key, value.Text)
	}
	if !slices.Contains(s.declared, kv.Key) {
		s.declared = append(s.declared, kv.Key)
	}
	return value, err
}

// argValue finds the value of one argument of an ARG.
func (s *Scope) argValue(kv instructions.KeyValuePairOptional) (value Value, err error) {
	if value.Text, value.Set = s.plan.opts.Args[kv.Key]; value.Set {
		return value, nil
	}
	if kv.Value == nil {
		value.Text, value.Set = s.plan.globals.Get(kv.Key)
		value.Header = value.Set
		return value, nil
	}
	value.Text, err = s.word(s.lex, *kv.Value)
	if err == nil {
		err = s.vars.checkValue(kv.Key, value.Text)
	}
	value.Set = err == nil
	return value, err
}

// Expand gives an instruction with the values of its variables, where the Dockerfile
// reference says so. EXPOSE is expanded by Words, ARG by Declare. With an error the
// instruction is what was done so far.
func (s *Scope) Expand(c Command) (instructions.Command, error) {
	s.uses = nil
	_, isArg := c.Command.(*instructions.ArgCommand)
	_, words := c.Command.(instructions.SupportsSingleWordExpansion)
	if isArg || !words {
		return c.Command, nil
	}
	fresh, err := s.plan.parseNode(c.node) // since it is expanded in place
	if err != nil {
		return c.Command, err
	}
	if err := s.expand(fresh); err != nil {
		return fresh, err
	}
	if env, isEnv := fresh.(*instructions.EnvCommand); isEnv {
		for _, kv := range env.Env {
			if err := s.vars.checkValue(kv.Key, kv.Value); err != nil {
				return fresh, err
			}
		}
	}
	return fresh, nil
}

// Uses are the variables whose values Expand put into the instruction last, by their names.
func (s *Scope) Uses() []string {
	slices.Sort(s.uses)
	s.uses = slices.Compact(s.uses)
	return s.uses
}

// expand replaces the variables in an instruction, in place.
func (s *Scope) expand(c instructions.Command) error {
	with := func(lex *lexer) instructions.SingleWordExpander {
		return func(word string) (string, error) { return s.word(lex, word) }
	}
	var err, rawErr error
	if e, ok := c.(instructions.SupportsSingleWordExpansion); ok {
		err = e.Expand(with(s.lex))
	}
	if e, ok := c.(instructions.SupportsSingleWordExpansionRaw); ok {
		raw := newLexer('\\') // here-documents have the shell's escape, not the file's
		raw.SkipProcessQuotes = true
		rawErr = e.ExpandRaw(with(raw))
	}
	return cmp.Or(err, rawErr)
}

// word replaces the variables in a word.
func (s *Scope) word(lex *lexer, word string) (string, error) {
	result, err := lex.ProcessWordWithMatches(word, s.vars)
	value, unset := result.Result, result.Unmatched
	for name := range result.Matched {
		s.uses = append(s.uses, name)
	}
	if s.Undefined == nil || len(unset) == 0 {
		return value, err
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(unset)) {
		if !slices.Contains(s.declared, name) && !slices.Contains(noEnvArgs, name) {
			names = append(names, name)
		}
	}
	if len(names) > 0 && s.Undefined(names) {
		return s.word(lex, word)
	}
	return value, err
}

// Mounts gives the mounts of a RUN with the values of their variables. Those that have a from= are
// of what the command's From lists, in its order. The error is also of mounts
// that cannot be together.
func (s *Scope) Mounts(c Command) ([]runflags.Mount, error) {
	return s.mounts(c, func(word string) (string, bool, error) {
		value, err := s.word(s.lex, word)
		return value, true, err
	})
}

// learnMounts notes the mounts of a RUN as far as they are known without the base image.
func (s *Scope) learnMounts(c *Command) (err error) {
	c.Mounts, err = s.mounts(*c, func(word string) (string, bool, error) {
		seen := &asking{vars: s.vars}
		value, _, err := s.lex.ProcessWord(word, seen)
		if seen.unknown {
			return "", false, nil // an error may go, too, with a value
		}
		return value, true, err
	})
	return err
}

// asking are variables that note whether one is asked for which is not set.
type asking struct {
	*vars
	unknown bool
}

func (a *asking) Get(name string) (string, bool) {
	value, ok := a.vars.Get(name)
	a.unknown = a.unknown || !ok
	return value, ok
}

func (s *Scope) mounts(c Command, expand runflags.Expander) ([]runflags.Mount, error) {
	var mounts []runflags.Mount
	for _, text := range c.mounts {
		m, err := runflags.Parse(text, s.plan.opts.Args[cacheNamespaceArg], expand)
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, m)
	}
	return mounts, runflags.Check(mounts)
}

// learn does what ENV and ARG do to a scope that does not know the base image. What is
// wrong with them is told when they are done.
func (s *Scope) learn(c instructions.Command) {
	switch c := c.(type) {
	case *instructions.ArgCommand:
		_, _ = s.Declare(c)
	case *instructions.EnvCommand:
		values := map[string]string{}
		for _, kv := range c.Env {
			if value, _, err := s.lex.ProcessWord(kv.Value, s.vars); err == nil && s.vars.checkValue(kv.Key, value) == nil {
				values[kv.Key] = value
			}
		}
		for name, value := range values {
			s.vars.Set(name, value)
		}
	}
}

// fromWord replaces the variables in the name of a stage or image, by those of the
// stage and then those of the header. All must be known without the base image.
func (s *Scope) fromWord(word string) (string, error) {
	known := s.plan.globals.clone()
	for _, name := range s.vars.names {
		known.Set(name, s.vars.values[name])
	}
	value, unset, err := s.lex.ProcessWord(word, known)
	if err != nil {
		return "", err
	}
	if len(unset) > 0 {
		names := slices.Sorted(maps.Keys(unset))
		return "", fmt.Errorf("no ARG or ENV above sets %s, and the base image's are not known here", strings.Join(names, ", "))
	}
	if value == "" {
		return "", errors.New("the name is blank")
	}
	return value, nil
}

// Words replaces the variables in a word and splits the result at spaces.
func (s *Scope) Words(word string) ([]string, error) {
	return s.lex.ProcessWords(word, s.vars)
}

// RunEnv gives, as NAME=value, the variables that a RUN has beyond those of the
// configuration's environment config, or with another value than there.
func (s *Scope) RunEnv(config []string) []string {
	known := newVars(config)
	var env []string
	for _, name := range s.vars.names {
		value := s.vars.values[name]
		if old, ok := known.Get(name); !ok || old != value {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// RunHistory is the history's text for a RUN with these arguments: the declared
// arguments with their values, counted, and the command. All texts of a stage have a
// limit together.
func (s *Scope) RunHistory(args []string) (string, error) {
	words := []string{"RUN"}
	if len(s.declared) > 0 {
		words = append(words, fmt.Sprintf("|%d", len(s.declared)))
		for _, name := range s.declared {
			words = append(words, name+"="+s.vars.values[name])
		}
	}
	text := strings.Join(append(words, args...), " ")
	if s.lex.spent += len(text); s.lex.spent > limits.MaxExpansions {
		return "", limit("what variables put into all texts of the stage and its history", limits.MaxExpansions, "bytes")
	}
	return text, nil
}
