package plan

import (
	"errors"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/oakum-build/oakum/builder/limits"
)

// onbuild lists the triggers that the stage's own ONBUILD instructions set.
func (s *Stage) onbuild() []string {
	var triggers []string
	for _, c := range s.Commands {
		if o, ok := c.Command.(*instructions.OnbuildCommand); ok {
			triggers = append(triggers, o.Expression)
		}
	}
	return triggers
}

// triggers makes commands of ONBUILD triggers that run in s. The fault is that of the first
// bad one, at the FROM of s; the others are given all the same. scope is what they know of
// variables.
func (p *Plan) triggers(s *Stage, scope *Scope, triggers []string) ([]Command, error) {
	if len(triggers) > limits.MaxInstructions {
		return nil, &Fault{Line: s.Line, End: s.End, Err: limit("the number of ONBUILD triggers", limits.MaxInstructions, "triggers")}
	}
	commands := make([]Command, 0, len(triggers))
	var first error
	for _, text := range triggers {
		c, err := p.trigger(s, scope, text)
		if err != nil && first == nil {
			f := fault(s.Line, s.End, "ONBUILD trigger %q of the base: %w", text, err)
			f.Hint = p.hint(err)
			first = f
		}
		if c.Command != nil {
			scope.learn(c.Command)
			commands = append(commands, c)
		}
	}
	return commands, first
}

// parseTrigger parses an ONBUILD trigger, which always has the default escape character,
// for a FROM in the lines given.
func parseTrigger(text string, line, end int) (*parser.Node, error) {
	if f := checkText([]byte(text)); f != nil {
		return nil, f.Err
	}
	tree, err := read([]byte(text))
	if err != nil {
		return nil, syntaxFault(err, nil)
	}
	if len(tree.AST.Children) != 1 {
		return nil, errors.New("it must be one instruction")
	}
	node := tree.AST.Children[0]
	node.StartLine, node.EndLine = line, end
	return node, nil
}

// parseNode makes an instruction of its node, for a trigger or anew.
func (p *Plan) parseNode(node *parser.Node) (instructions.Command, error) {
	parsed, err := instructions.ParseInstructionWithLinter(node, p.file.silent)
	if err != nil {
		return nil, syntaxFault(err, nil)
	}
	ic, ok := parsed.(instructions.Command)
	if !ok {
		return nil, errors.New("FROM is not a command for a trigger")
	}
	return ic, nil
}

// trigger makes a command of one trigger.
func (p *Plan) trigger(s *Stage, scope *Scope, text string) (Command, error) {
	node, err := parseTrigger(text, s.Line, s.End)
	if err != nil {
		return Command{}, err
	}
	mounts := takeMounts(node)
	ic, err := p.parseNode(node)
	if err != nil {
		return Command{}, err
	}
	if _, chained := ic.(*instructions.OnbuildCommand); chained {
		return Command{}, errors.New("ONBUILD may not be a trigger itself")
	}
	c := Command{Command: ic, Source: sourceOf(ic), Line: s.Line, End: s.End, Trigger: true, node: node, mounts: mounts}
	p.declareCommand(ic)
	err = p.resolveFrom(s, scope, &c)
	return c, err
}
