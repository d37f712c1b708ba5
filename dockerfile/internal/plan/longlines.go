package plan

import (
	"bytes"
	"errors"
	"sort"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// BuildKit's parser takes no line of 64 KiB, while Buildah takes more. Longer ones are given
// to it in pieces, which it joins as continued lines, and in here-documents keeps apart.
// A mark between them tells where they are to be joined in what it gives.

const (
	longLine = 60 << 10 // a line beyond this is cut
	piece    = 30 << 10 // into pieces of about this size
	// settled is how many bytes before a cut must be plain, so that no escape is cut.
	settled = 16
)

// cutMark is in no sane text, and breaks no word, variable or JSON string.
const cutMark = "\ue0dcoakum\ue0dc"

// cutText is a text whose long lines are cut.
type cutText struct {
	text  []byte
	glue  string // between two pieces
	extra []int  // the lines of text that begin with a later piece, ascending, from 1
}

// cut cuts the long lines of a text. Comments stay as they are, for they do not continue.
func cut(text []byte) cutText {
	escape, _, _, _ := parser.ParseDirective("escape", text)
	if escape == "" {
		escape = string(parser.DefaultEscapeToken)
	}
	c := cutText{text: text, glue: cutMark + escape + "\n"}
	if len(text) < longLine || bytes.Contains(text, []byte(cutMark)) {
		return c
	}
	var out bytes.Buffer
	number := 0
	for line := range bytes.Lines(text) {
		number++
		comment := bytes.HasPrefix(bytes.TrimLeft(line, " \t"), []byte("#"))
		for len(line) > longLine && !comment {
			at := plainPlace(line)
			if at < 0 {
				break
			}
			out.Write(line[:at])
			out.WriteString(c.glue)
			line = line[at:]
			number++
			c.extra = append(c.extra, number)
		}
		out.Write(line)
	}
	c.text = out.Bytes()
	return c
}

// plainPlace finds a place to cut a line: between letters and digits alone. It is -1 when
// there is none.
func plainPlace(line []byte) int {
	plain := 0
	for i, b := range line[:longLine] {
		if plain >= settled && i >= piece && isPlain(b) {
			return i
		}
		plain++
		if !isPlain(b) {
			plain = 0
		}
	}
	return -1
}

func isPlain(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9'
}

// line gives the line of the original text.
func (c cutText) line(number int) int { return number - sort.SearchInts(c.extra, number+1) }

func (c cutText) ranges(ranges []parser.Range) {
	for i := range ranges {
		ranges[i].Start.Line, ranges[i].End.Line = c.line(ranges[i].Start.Line), c.line(ranges[i].End.Line)
	}
}

// parse parses the text as if nothing had been cut.
func (c cutText) parse() (*parser.Result, error) {
	tree, err := parser.Parse(bytes.NewReader(c.text))
	if len(c.extra) == 0 {
		return tree, err
	}
	var located *parser.LocationError
	if errors.As(err, &located) {
		for _, ranges := range located.Locations {
			c.ranges(ranges)
		}
	}
	if err != nil {
		return nil, err
	}
	for _, w := range tree.Warnings {
		if w.Location != nil {
			w.Location.Start.Line, w.Location.End.Line = c.line(w.Location.Start.Line), c.line(w.Location.End.Line)
		}
	}
	c.join(tree.AST)
	return tree, nil
}

// join takes the marks out of a tree, and corrects its lines.
func (c cutText) join(n *parser.Node) {
	for ; n != nil; n = n.Next {
		n.StartLine, n.EndLine = c.line(n.StartLine), c.line(n.EndLine)
		n.Value, n.Original = strings.ReplaceAll(n.Value, cutMark, ""), strings.ReplaceAll(n.Original, cutMark, "")
		for i, flag := range n.Flags {
			n.Flags[i] = strings.ReplaceAll(flag, cutMark, "")
		}
		for i := range n.Heredocs {
			n.Heredocs[i].Content = strings.ReplaceAll(n.Heredocs[i].Content, c.glue, "")
		}
		for _, child := range n.Children {
			c.join(child)
		}
	}
}
