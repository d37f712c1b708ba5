package plan

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/oakum-build/oakum/builder/foreign"
)

// Scope is the variables that the instructions of one stage see, as BuildKit keeps
// them: ENV and ARG set the same variables, the later one wins, and a stage starts
// with those of the stage that it is based on. It belongs to one goroutine.
type Scope struct {
	vars     *Vars
	declared []string // what ARG named, for RUN's history
	plan     *Plan
	lex      *Lex
}

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

// Set does what ENV does to the scope.
func (s *Scope) Set(name, value string) { s.vars.Set(name, value) }

// Declare does what ARG does: the value is the build argument's, else the default,
// else that of the header. It returns the instruction's text with the values that
// it led to.
func (s *Scope) Declare(c *instructions.ArgCommand) (string, error) {
	var text strings.Builder
	text.WriteString("ARG")
	for _, kv := range c.Args {
		value, set, err := s.argValue(kv)
		if err != nil {
			return "", err
		}
		text.WriteString(" " + kv.Key)
		if set {
			text.WriteString("=" + value)
			if !slices.Contains(noEnvArgs, kv.Key) {
				s.vars.Set(kv.Key, value)
			}
		}
		if !slices.Contains(s.declared, kv.Key) {
			s.declared = append(s.declared, kv.Key)
		}
	}
	return text.String(), nil
}

// argValue finds the value of one argument of an ARG.
func (s *Scope) argValue(kv instructions.KeyValuePairOptional) (value string, set bool, err error) {
	if value, ok := s.plan.opts.Args[kv.Key]; ok {
		return value, true, nil
	}
	if kv.Value == nil {
		value, ok := s.plan.globals.Get(kv.Key)
		return value, ok, nil
	}
	value, _, err = s.lex.ProcessWord(*kv.Value, s.vars)
	if err == nil {
		err = s.vars.checkValue(kv.Key, value)
	}
	return value, err == nil, err
}

// Expand replaces the variables in an instruction, in place, where the Dockerfile
// reference says so. EXPOSE is expanded by Words, ARG by Declare.
func (s *Scope) Expand(c instructions.Command) error {
	if _, isArg := c.(*instructions.ArgCommand); isArg {
		return nil
	}
	if e, ok := c.(instructions.SupportsSingleWordExpansion); ok {
		if err := e.Expand(expander(s.lex, s.vars)); err != nil {
			return err
		}
	}
	if env, isEnv := c.(*instructions.EnvCommand); isEnv {
		for _, kv := range env.Env {
			if err := s.vars.checkValue(kv.Key, kv.Value); err != nil {
				return err
			}
		}
	}
	if e, ok := c.(instructions.SupportsSingleWordExpansionRaw); ok {
		raw := NewLex('\\') // here-documents have the shell's escape, not the file's
		raw.SkipProcessQuotes = true
		return e.ExpandRaw(expander(raw, s.vars))
	}
	return nil
}

func expander(lex *Lex, vars *Vars) instructions.SingleWordExpander {
	return func(word string) (string, error) {
		word, _, err := lex.ProcessWord(word, vars)
		return word, err
	}
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
	vars := s.plan.globals.clone()
	for _, name := range s.vars.names {
		vars.Set(name, s.vars.values[name])
	}
	value, unset, err := s.lex.ProcessWord(word, vars)
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
	if s.lex.spent += len(text); s.lex.spent > foreign.MaxExpansions {
		return "", limit("what variables put into all texts of the stage and its history", foreign.MaxExpansions, "bytes")
	}
	return text, nil
}
