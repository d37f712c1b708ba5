package plan

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/command"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/oakum-build/oakum/builder/bytetext"
)

// file is a parsed Dockerfile.
type file struct {
	escape rune
	header []instructions.ArgCommand // the ARGs before the first FROM
	stages []instructions.Stage      // at least one
	after  [][]string                // of each stage
}

// afterFlag is Buildah's flag of FROM, which BuildKit's packages do not know.
const afterFlag = "--after="

// Tree parses a text with BuildKit's parser, whose error it gives, and takes FROM's
// --after out: after has its values for each stage. A text that is none, or is beyond a
// limit, is a *Fault.
func Tree(text []byte) (tree *parser.Result, after [][]string, err error) {
	if f := cmp.Or(encodingFault(text), checkText(text)); f != nil {
		return nil, nil, f
	}
	tree, err = read(text)
	if err != nil {
		return nil, nil, err
	}
	if f := checkSize(tree.AST); f != nil {
		return nil, nil, f
	}
	for _, n := range tree.AST.Children {
		if !strings.EqualFold(n.Value, command.From) {
			continue
		}
		var names []string
		n.Flags = slices.DeleteFunc(n.Flags, func(flag string) bool {
			name, found := strings.CutPrefix(flag, afterFlag)
			if found {
				names = append(names, name)
			}
			return found
		})
		after = append(after, names)
	}
	return tree, after, nil
}

// parse reads the text with BuildKit's parser. What is wrong may be that the text is in
// another language.
func parse(text []byte) (*file, error) {
	parsed, err := parseText(text)
	if err == nil {
		return parsed, nil
	}
	var f *Fault
	if name, _, where, found := parser.DetectSyntax(text); found && errors.As(err, &f) {
		_, _, _, isComment := parser.ParseDirective("syntax", text)
		switch {
		case !isComment: // but "// syntax=" or JSON, which no Dockerfile has
			f = &Fault{Err: unsupported{fmt.Sprintf("the language of the frontend %s", name)}, Hint: "only Dockerfiles are built, whose first line may be # syntax="}
			f.Line, f.End = lines(where)
			return nil, f
		case f.Hint == "" && !strings.HasPrefix(name, "docker/dockerfile") && !strings.HasPrefix(name, "docker.io/docker/dockerfile"):
			f.Hint = "the file names the frontend " + name + ", which is not run: the grammar is that of docker/dockerfile"
		}
	}
	return nil, err
}

func parseText(text []byte) (*file, error) {
	if len(strings.TrimSpace(string(text))) == 0 {
		return nil, &Fault{Err: errors.New("the Dockerfile is empty"), Hint: "it needs at least a FROM instruction"}
	}
	tree, after, err := Tree(text)
	if err != nil {
		return nil, syntaxFault(err, text)
	}
	if f := startsWithFrom(tree.AST); f != nil {
		return nil, f
	}
	stages, header, err := instructions.Parse(tree.AST, Silent())
	if err != nil {
		return nil, syntaxFault(err, text)
	}
	if len(stages) == 0 {
		return nil, &Fault{Err: errors.New("the Dockerfile has no FROM instruction, so there is nothing to build")}
	}
	return &file{escape: tree.EscapeToken, header: header, stages: stages, after: after}, nil
}

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
var suggestion = regexp.MustCompile(`(?s)^(.*) \((did you mean .*\?)\)$`)

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
	if m := suggestion.FindStringSubmatch(message); m != nil {
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
