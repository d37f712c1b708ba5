package plan

import (
	"bytes"
	"errors"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// BuildKit's parser takes no line of 64 KiB, while Buildah takes more. So longer ones are
// given to it in pieces, as lines that continue, which it joins. In a here-document no line
// continues; there the pieces are joined by the mark that is between them.

const (
	longLine = 60 << 10 // a line beyond this is cut
	piece    = 30 << 10 // into pieces that are longer than this
	// pieceMark is in no sane text, and ends no word, variable or JSON string.
	pieceMark = "\ue0dcoakum\ue0dc"
)

// plain matches what may be cut before its last byte: nothing that has a meaning is near.
var plain = lazy(`[0-9A-Za-z]{17}`)

// parseLines is parser.Parse for lines of any length. One that has no plain place, and a
// comment, is refused as there.
func parseLines(text []byte) (*parser.Result, error) {
	if len(text) < longLine || bytes.Contains(text, []byte(pieceMark)) {
		return parser.Parse(bytes.NewReader(text))
	}
	p := pieces{glue: pieceMark + escapeOf(text) + "\n", lines: []int{0}}
	var cut bytes.Buffer
	number := 0
	for line := range bytes.Lines(text) {
		number++
		p.lines = append(p.lines, number)
		for len(line) > longLine && !bytes.HasPrefix(bytes.TrimLeft(line, " \t"), []byte("#")) {
			at := plain().FindIndex(line[piece:longLine])
			if at == nil {
				break
			}
			cut.Write(line[:piece+at[1]-1])
			cut.WriteString(p.glue)
			line = line[piece+at[1]-1:]
			p.lines = append(p.lines, number)
		}
		cut.Write(line)
	}
	tree, err := parser.Parse(&cut)
	var located *parser.LocationError
	if errors.As(err, &located) {
		for _, ranges := range located.Locations {
			for i := range ranges {
				p.place(&ranges[i])
			}
		}
	}
	if err != nil {
		return nil, err
	}
	for _, w := range tree.Warnings {
		if w.Location != nil {
			p.place(w.Location)
		}
	}
	p.join(tree.AST)
	return tree, nil
}

// escapeOf is the escape character that a text's directive sets.
func escapeOf(text []byte) string {
	if escape, _, _, _ := parser.ParseDirective("escape", text); escape != "" {
		return escape
	}
	return string(parser.DefaultEscapeToken)
}

// pieces are a text whose long lines are cut.
type pieces struct {
	glue  string // between two pieces
	lines []int  // for each line, from 1, that of the text before
}

// line is the line of the text before.
func (p pieces) line(number int) int { return p.lines[min(number, len(p.lines)-1)] }

// place corrects the lines of a range.
func (p pieces) place(r *parser.Range) {
	r.Start.Line, r.End.Line = p.line(r.Start.Line), p.line(r.End.Line)
}

// join takes the marks out of a tree, and corrects its lines.
func (p pieces) join(n *parser.Node) {
	for ; n != nil; n = n.Next {
		n.StartLine, n.EndLine = p.line(n.StartLine), p.line(n.EndLine)
		n.Value, n.Original = strings.ReplaceAll(n.Value, pieceMark, ""), strings.ReplaceAll(n.Original, pieceMark, "")
		for i, flag := range n.Flags {
			n.Flags[i] = strings.ReplaceAll(flag, pieceMark, "")
		}
		for i := range n.Heredocs {
			n.Heredocs[i].Content = strings.ReplaceAll(n.Heredocs[i].Content, p.glue, "")
		}
		for _, child := range n.Children {
			p.join(child)
		}
	}
}
