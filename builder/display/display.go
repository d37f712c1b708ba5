// Package display makes text of others harmless to a terminal: what images, servers,
// Dockerfiles and commands wrote, and what package builder and dockerfile pass on of it
// in errors, events and lists. A terminal obeys control characters: they move the cursor,
// overwrite what stands there, set titles and clipboards, and turn the direction of
// writing. Here they become visible escapes such as \x1b.
//
// Escapes above U+007E have the form that JSON has too, so that JSON stays what it is.
package display

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Line is text in one line, such as a cell of a table.
func Line(text string) string {
	return escape(text, func(rune) bool { return false })
}

// Message is text for a reader, whose lines after the first are indented, so that none of
// them can be taken for another message.
func Message(text string) string {
	return strings.ReplaceAll(Text(text), "\n", "\n  ")
}

// Text is text with its lines and tabs.
func Text(text string) string {
	return escape(text, func(r rune) bool { return r == '\n' || r == '\t' })
}

// NewWriter gives a writer of Text to w. What is written at a time should not end within
// a character.
func NewWriter(w io.Writer) io.Writer { return writer{w} }

type writer struct{ to io.Writer }

func (w writer) Write(p []byte) (int, error) {
	text := string(p)
	if _, err := io.WriteString(w.to, Text(text)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Output is the lines of a command's output. They keep their colours (SGR sequences), of
// which none lasts beyond its line; where the command went back to the beginning of a
// line, another begins.
func Output(output []byte) []string {
	var lines []string
	for line := range strings.SplitSeq(strings.TrimSuffix(string(output), "\n"), "\n") {
		parts := strings.FieldsFunc(line, func(r rune) bool { return r == '\r' })
		if len(parts) == 0 {
			parts = []string{""}
		}
		for _, part := range parts {
			lines = append(lines, colours(part))
		}
	}
	return lines
}

// reset ends all colours.
const reset = "\x1b[0m"

func colours(line string) string {
	tab := func(r rune) bool { return r == '\t' }
	var out strings.Builder
	for coloured := false; ; coloured = true {
		before, sequence, rest := cutColour(line)
		out.WriteString(escape(before, tab))
		if sequence == "" {
			if coloured {
				out.WriteString(reset)
			}
			return out.String()
		}
		out.WriteString(sequence)
		line = rest
	}
}

// cutColour cuts text at its first SGR sequence (ECMA-48, 8.3.117); without one all of it
// stands before.
func cutColour(text string) (before, sequence, rest string) {
	for from := 0; ; {
		at := strings.Index(text[from:], "\x1b[")
		if at < 0 {
			return text, "", ""
		}
		begin := from + at
		end := begin + 2
		for end < len(text) && strings.IndexByte("0123456789;:", text[end]) >= 0 {
			end++
		}
		if end < len(text) && text[end] == 'm' {
			return text[:begin], text[begin : end+1], text[end+1:]
		}
		from = begin + 1
	}
}

// escape replaces what a terminal would obey, but for what keep names.
func escape(text string, keep func(rune) bool) string {
	var out strings.Builder
	done := 0 // what is written of text
	for at := 0; at < len(text); {
		r, size := utf8.DecodeRuneInString(text[at:])
		if how := escaped(r, size, text[at]); how != "" && !keep(r) {
			out.WriteString(text[done:at])
			out.WriteString(how)
			done = at + size
		}
		at += size
	}
	if done == 0 {
		return text
	}
	out.WriteString(text[done:])
	return out.String()
}

// escaped is what stands for a character, "" for itself.
func escaped(r rune, size int, first byte) string {
	switch {
	case r == utf8.RuneError && size <= 1:
		return fmt.Sprintf(`\x%02x`, first)
	case r == '\n':
		return `\n`
	case r == '\r':
		return `\r`
	case r == '\t':
		return `\t`
	case r < ' ':
		return fmt.Sprintf(`\x%02x`, r)
	case r >= 0x7f && r < 0xa0, r == 0x061c, r == 0x200e, r == 0x200f, r >= 0x2028 && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
		// DEL and the controls of ISO 8859; marks, embeddings, overrides and isolates of
		// bidirectional text; the separators of lines and paragraphs.
		return fmt.Sprintf(`\u%04x`, r)
	}
	return ""
}
