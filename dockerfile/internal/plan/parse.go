package plan

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/command"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/oakum-build/oakum/builder/bytetext"
)

// File is a Dockerfile that has been parsed, once for all that is done with it: checks,
// and each plan of a build. It is not changed any more.
type File struct {
	escape rune
	header []instructions.ArgCommand // the ARGs before the first FROM
	stages []parsedStage             // at least one
	silent *linter.Linter
}

// parsedStage is a FROM with its instructions.
type parsedStage struct {
	*instructions.Stage
	after  []string       // the values of --after
	nodes  []*parser.Node // of each instruction, from which it is made anew
	mounts [][]string     // and the values of its --mount
}

// afterFlag is Buildah's flag of FROM, which BuildKit's packages do not know.
const afterFlag = "--after="

// Parse parses a Dockerfile with BuildKit's parser, which tells l what it finds by the way,
// also when there is an error. That is a *Fault. What is wrong may be that the text is in
// another language.
func Parse(text []byte, l *linter.Linter) (*File, error) {
	file, f := parseText(text, l)
	if f == nil {
		return file, nil
	}
	if name, _, where, found := parser.DetectSyntax(text); found {
		_, _, _, isComment := parser.ParseDirective("syntax", text)
		switch {
		case !isComment: // but "// syntax=" or JSON, which no Dockerfile has
			f = &Fault{Err: unsupported{fmt.Sprintf("the language of the frontend %s", name)}, Hint: "only Dockerfiles are built, whose first line may be # syntax="}
			f.Line, f.End = lines(where)
		case f.Hint == "" && !strings.HasPrefix(name, "docker/dockerfile") && !strings.HasPrefix(name, "docker.io/docker/dockerfile"):
			f.Hint = "the file names the frontend " + name + ", which is not run: the grammar is that of docker/dockerfile"
		}
	}
	return nil, f
}

func parseText(text []byte, l *linter.Linter) (*File, *Fault) {
	if len(strings.TrimSpace(string(text))) == 0 {
		return nil, &Fault{Err: errors.New("the Dockerfile is empty"), Hint: "it needs at least a FROM instruction"}
	}
	if f := cmp.Or(encodingFault(text), checkText(text)); f != nil {
		return nil, f
	}
	tree, err := read(text)
	if err != nil {
		return nil, syntaxFault(err, text)
	}
	if f := checkSize(tree.AST); f != nil {
		return nil, f
	}
	for _, w := range tree.Warnings {
		if w.URL == linter.RuleNoEmptyContinuation.URL && w.Location != nil {
			l.Run(&linter.RuleNoEmptyContinuation, []parser.Range{*w.Location}, linter.RuleNoEmptyContinuation.Format())
		}
	}
	file := &File{escape: tree.EscapeToken, silent: silent()}
	file.readNodes(tree.AST)
	misplaced := startsWithFrom(tree.AST)
	stages, header, err := instructions.Parse(tree.AST, l)
	switch {
	case misplaced != nil:
		return nil, misplaced
	case err != nil:
		return nil, syntaxFault(err, text)
	case len(stages) == 0:
		return nil, &Fault{Err: errors.New("the Dockerfile has no FROM instruction, so there is nothing to build")}
	}
	file.header = header
	for i := range stages {
		file.stages[i].Stage = &stages[i]
	}
	return file, nil
}

// readNodes notes the nodes of each stage, and takes FROM's --after and RUN's --mount out of them.
func (file *File) readNodes(tree *parser.Node) {
	for _, n := range tree.Children {
		if !strings.EqualFold(n.Value, command.From) {
			if last := len(file.stages) - 1; last >= 0 {
				st := &file.stages[last]
				st.nodes, st.mounts = append(st.nodes, n), append(st.mounts, takeMounts(n))
			}
			continue
		}
		file.stages = append(file.stages, parsedStage{after: takeFlags(n, afterFlag)})
	}
}

// takeFlags takes those of a node's flags that begin so out of it, and gives their values.
func takeFlags(n *parser.Node, prefix string) (values []string) {
	n.Flags = slices.DeleteFunc(n.Flags, func(flag string) bool {
		value, found := strings.CutPrefix(flag, prefix)
		if found {
			values = append(values, value)
		}
		return found
	})
	return values
}

// takeMounts takes the mounts of a RUN out of its node.
func takeMounts(n *parser.Node) []string {
	if !strings.EqualFold(n.Value, command.Run) {
		return nil
	}
	return takeFlags(n, "--mount=")
}

// silent makes a linter that reports nothing. BuildKit's parser does not stand having
// none where a comment above an instruction has settings for it.
func silent() *linter.Linter { return linter.New(&linter.Config{}) }

// startsWithFrom checks that only ARG stands before the first FROM. Instructions
// that do not exist are left to BuildKit's parser, which knows better what was meant.
func startsWithFrom(tree *parser.Node) *Fault {
	for _, n := range tree.Children {
		name := strings.ToLower(n.Value)
		if _, known := command.Commands[name]; !known || name == command.From {
			return nil
		}
		if name != command.Arg {
			f := fault(n.StartLine, n.EndLine, "%s stands before the first FROM", strings.ToUpper(name))
			f.Hint = "only ARG may stand before the first FROM"
			return f
		}
	}
	return nil
}

// suggestion is how BuildKit's packages append a proposal to an error's text.
var suggestion = lazy(`(?s)^(.*) \((did you mean .*\?)\)$`)

// syntaxFault takes the lines and the proposal out of an error of BuildKit's
// packages, whose types it hides.
func syntaxFault(err error, text []byte) *Fault {
	var already *Fault
	if errors.As(err, &already) {
		return already
	}
	f := &Fault{Err: err}
	var located *parser.LocationError
	if errors.As(err, &located) {
		if len(located.Locations) > 0 {
			f.Line, f.End = lines(located.Locations[0])
		}
		err = located.Unwrap()
	}
	message := bytetext.Decode(err.Error())
	if m := suggestion().FindStringSubmatch(message); m != nil {
		message, f.Hint = m[1], m[2]
		if strings.HasPrefix(message, "unknown flag: --") {
			f.Hint = strings.Replace(f.Hint, "did you mean ", "did you mean --", 1)
		}
	}
	if message == "file with no instructions" {
		return &Fault{Err: errors.New("the Dockerfile has no instructions"), Hint: "it needs at least a FROM instruction"}
	}
	f.Err = errors.New(message)
	f.Hint = cmp.Or(f.Hint, adviceOn(message))
	f.correctDirective(text)
	return f
}

// correctDirective mends the place of an error in a parser directive, which
// BuildKit's parser gives as the line before it. No other error can be on a
// comment, or on line 0.
func (f *Fault) correctDirective(text []byte) {
	all := strings.Split(string(text), "\n")
	if f.Line != f.End || f.Line >= len(all) {
		return
	}
	if f.Line == 0 || strings.HasPrefix(strings.TrimSpace(all[f.Line-1]), "#") {
		f.Line, f.End = f.Line+1, f.End+1
	}
}
