package plan

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/command"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"

	"github.com/oakum-build/oakum/builder/limits"
)

// BuildKit's parser and lexer do what a text says, however much that is: they call
// themselves for each ${ in another, and give values of any length. So what a text may ask
// for is limited before.

func limit(what string, max int64, unit string) *limits.LimitError {
	return &limits.LimitError{What: what, Limit: max, Unit: unit}
}

// checkText keeps a text to what the parser can take, which gives each instruction with its
// continuation lines to the lexer.
func checkText(text []byte) *Fault {
	escape := escapeOf(text)
	count, first, number, braces, length := 0, 0, 0, 0, 0
	for line := range bytes.Lines(text) {
		number++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		if count++; count > limits.MaxLines {
			return &Fault{Line: number, End: number, Err: limit("the number of lines", limits.MaxLines, "lines")}
		}
		if length == 0 {
			first = number
		}
		// "${" may be made by joining lines.
		braces += min(bytes.Count(line, []byte("{")), bytes.Count(line, []byte("$"))+1)
		length += len(line)
		if most := min(limits.MaxVariableUses, max(limits.MaxNesting, limits.MaxVariableWork/length)); braces > most {
			return &Fault{Line: first, End: number, Err: limit(fmt.Sprintf("the number of ${...} in an instruction of %d bytes", length), int64(most), "uses")}
		}
		if !bytes.HasSuffix(line, []byte(escape)) {
			braces, length = 0, 0
		}
	}
	return nil
}

// checkSize limits how many instructions there are.
func checkSize(tree *parser.Node) *Fault {
	stages := 0
	for i, n := range tree.Children {
		if strings.EqualFold(n.Value, command.From) {
			stages++
		}
		switch {
		case i >= limits.MaxInstructions:
			return &Fault{Line: n.StartLine, End: n.EndLine, Err: limit("the number of instructions", limits.MaxInstructions, "instructions")}
		case stages > limits.MaxStages:
			return &Fault{Line: n.StartLine, End: n.EndLine, Err: limit("the number of stages", limits.MaxStages, "stages")}
		}
	}
	return nil
}

// checkWord keeps a word to what the lexer can take.
func (l *lexer) checkWord(word string) error {
	uses := strings.Count(word, "${")
	switch {
	case uses <= limits.MaxNesting:
		return nil
	case uses > limits.MaxVariableUses:
		return limit("the number of ${...} in one text", limits.MaxVariableUses, "uses")
	}
	d := l.walk(word)
	if d.deepest > limits.MaxNesting {
		return limit("the depth of ${...} in each other", limits.MaxNesting, "levels")
	}
	return nil
}

// withPattern matches the uses of a variable for which the lexer compiles a pattern, and
// withText those where it puts a text for each match.
var (
	withPattern = lazy(`\$\{([\pL\p{Nd}_]+|.)[#%/]`)
	withText    = lazy(`\$\{([\pL\p{Nd}_]+|.)/`)
)

// meter gives a word the values of its variables, as long as they are not too much.
type meter struct {
	shell.EnvGetter
	left    int // of what may be given
	given   int
	pattern map[string]bool // variables with a pattern: work grows with the length of those
	nested  bool            // and texts for their matches lie in each other
	length  int             // of the word
	fault   error
}

// meter makes that of a word.
func (l *lexer) meter(word string, env shell.EnvGetter) (*meter, error) {
	m := &meter{EnvGetter: env, left: min(limits.MaxExpansion, limits.MaxExpansions-l.spent), length: len(word)}
	if strings.Contains(word, "${") {
		m.pattern = map[string]bool{}
		for _, use := range withPattern().FindAllStringSubmatch(word, -1) {
			m.pattern[use[1]] = true
		}
	}
	if len(m.pattern) == 0 {
		return m, nil
	}
	if len(word) > limits.MaxPatternText {
		return nil, limit("the length of a text with ${NAME#PATTERN}, ${NAME%PATTERN} or ${NAME/PATTERN/TEXT}", limits.MaxPatternText, "bytes")
	}
	m.nested = len(withText().FindAllStringIndex(word, 2)) > 1 && l.walk(word).deepestText > 1
	return m, nil
}

// Get gives the value of a variable, or nothing once there is a fault.
func (m *meter) Get(name string) (string, bool) {
	value, ok := m.EnvGetter.Get(name)
	size := len(value)
	if m.pattern[name] {
		work := len(value) * (m.length + m.given)
		if work > limits.MaxPatternWork {
			m.fail(limit("the length of $"+name+", times that of the text with its ${NAME#PATTERN} or ${NAME/PATTERN/TEXT},", limits.MaxPatternWork, "bytes"))
		}
		if m.nested { // the result may be given to another one
			size = work
		}
	}
	if m.given += size; m.given > m.left {
		m.fail(limit("what variables put into the text", int64(limits.MaxExpansion), "bytes"))
	}
	if m.fault != nil {
		return "", ok
	}
	return value, ok
}

func (m *meter) fail(err error) {
	if m.fault == nil {
		m.fault = err
	}
}

// checkValue keeps a variable to what a command can have, and all of them to what a
// command can have together.
func (v *vars) checkValue(name, value string) error {
	if len(value) > limits.MaxValue {
		return limit("the length of "+name, limits.MaxValue, "bytes")
	}
	if v.size+len(name)+len(value) > limits.MaxVariables {
		return limit("the length of all variables with "+name, limits.MaxVariables, "bytes")
	}
	return nil
}
