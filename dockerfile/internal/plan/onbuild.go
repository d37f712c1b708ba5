package plan

import (
	"errors"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/oakum-build/oakum/builder/foreign"
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

// triggers makes commands of ONBUILD triggers that run in s. Faults are those of
// its FROM. scope is what they know of variables.
func (p *Plan) triggers(s *Stage, scope *Scope, triggers []string) ([]Command, error) {
	if len(triggers) > foreign.MaxInstructions {
		return nil, &Fault{Line: s.Line, End: s.End, Err: limit("the number of ONBUILD triggers", foreign.MaxInstructions, "triggers")}
	}
	commands := make([]Command, 0, len(triggers))
	for _, text := range triggers {
		c, err := p.trigger(s, scope, text)
		if err != nil {
			f := fault(s.Line, s.End, "ONBUILD trigger %q of the base: %w", text, err)
			f.Hint = p.fromHint(err)
			return nil, f
		}
		scope.learn(c.Command)
		commands = append(commands, c)
	}
	return commands, nil
}

// ParseTrigger parses an ONBUILD trigger, which always has the default escape character,
// for a FROM in the lines given.
func ParseTrigger(text string, line, end int) (instructions.Command, error) {
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
	parsed, err := instructions.ParseInstructionWithLinter(node, Silent())
	if err != nil {
		return nil, syntaxFault(err, nil)
	}
	ic, ok := parsed.(instructions.Command)
	if !ok {
		return nil, errors.New("FROM is not a command for a trigger")
	}
	if _, chained := ic.(*instructions.OnbuildCommand); chained {
		return nil, errors.New("ONBUILD may not be a trigger itself")
	}
	return ic, nil
}

// trigger makes a command of one trigger.
func (p *Plan) trigger(s *Stage, scope *Scope, text string) (Command, error) {
	ic, err := ParseTrigger(text, s.Line, s.End)
	if err != nil {
		return Command{}, err
	}
	c := Command{Command: ic, Source: sourceOf(ic), Line: s.Line, End: s.End, Trigger: true}
	p.declareCommand(ic)
	return c, p.resolveFrom(s, scope, &c)
}
