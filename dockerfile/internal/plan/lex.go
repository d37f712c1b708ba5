package plan

import (
	"strings"
	"unicode"

	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// Lex is BuildKit's lexer. Of what that refuses it also takes ${v/p} and ${v//p}, which
// delete p as in bash and Buildah. It belongs to one goroutine.
type Lex struct {
	*shell.Lex
	escape rune
}

// NewLex makes a lexer with an escape character.
func NewLex(escape rune) *Lex { return &Lex{shell.NewLex(escape), escape} }

// ProcessWord is that of shell.Lex.
func (l *Lex) ProcessWord(word string, env shell.EnvGetter) (string, map[string]struct{}, error) {
	result, err := l.ProcessWordWithMatches(word, env)
	return result.Result, result.Unmatched, err
}

// ProcessWords is that of shell.Lex.
func (l *Lex) ProcessWords(word string, env shell.EnvGetter) ([]string, error) {
	return retry(l, word, func(word string) ([]string, error) { return l.Lex.ProcessWords(word, env) })
}

// ProcessWordWithMatches is that of shell.Lex.
func (l *Lex) ProcessWordWithMatches(word string, env shell.EnvGetter) (shell.ProcessWordResult, error) {
	return retry(l, word, func(word string) (shell.ProcessWordResult, error) { return l.Lex.ProcessWordWithMatches(word, env) })
}

// retry tries a word that is refused again, with its deletions written out.
func retry[T any](l *Lex, word string, process func(string) (T, error)) (T, error) {
	result, err := process(word)
	if err == nil {
		return result, nil
	}
	d := deletions{in: []rune(word), escape: l.escape, quotes: !l.SkipProcessQuotes}
	d.until("", false)
	if d.found {
		if again, err := process(d.out.String()); err == nil {
			return again, nil
		}
	}
	return result, wordError{err}
}

// wordError is an error of BuildKit's lexer, in words.
type wordError struct{ error }

// endOfWord is what the lexer takes the end of a word for, when it wants a modifier.
const endOfWord = "unsupported modifier (\ufffd) in substitution"

func (e wordError) Error() string {
	return strings.Replace(e.error.Error(), endOfWord, "syntax error: missing '}'", 1)
}

func (e wordError) Unwrap() error { return e.error }

// Hint is what to do about it, or "".
func (e wordError) Hint() string { return adviceOn(e.error.Error()) }

// deletions copies a word, and gives each ${v/p} the slash before its empty replacement.
type deletions struct {
	in     []rune
	at     int
	out    strings.Builder
	escape rune
	quotes bool // quotes have their meaning
	found  bool
}

// next copies a number of runes.
func (d *deletions) next(count int) {
	for ; count > 0 && d.at < len(d.in); count-- {
		d.out.WriteRune(d.in[d.at])
		d.at++
	}
}

// peek is the rune at an offset; 0 behind the end.
func (d *deletions) peek(offset int) rune {
	if d.at+offset < len(d.in) {
		return d.in[d.at+offset]
	}
	return 0
}

// until copies up to one of the runes in stop, or to the end.
func (d *deletions) until(stop string, quoted bool) {
	for d.at < len(d.in) {
		switch r := d.peek(0); {
		case strings.ContainsRune(stop, r):
			return
		case r == d.escape:
			d.next(2)
		case r == '$' && d.peek(1) == '{':
			d.next(2)
			d.variable()
		case r == '"' && d.quotes:
			d.next(1)
			d.until(`"`, true)
			d.next(1)
		case r == '\'' && d.quotes && !quoted:
			d.next(1)
			for d.at < len(d.in) && d.peek(0) != '\'' {
				d.next(1)
			}
			d.next(1)
		default:
			d.next(1)
		}
	}
}

// variable copies what follows "${", to its end.
func (d *deletions) variable() {
	for r := d.peek(0); r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r); r = d.peek(0) {
		d.next(1)
	}
	if d.peek(0) == '/' {
		d.next(1)
		if d.peek(0) == '/' {
			d.next(1)
		}
		if d.until("/}", false); d.peek(0) == '}' {
			d.out.WriteRune('/')
			d.found = true
		} else {
			d.next(1)
		}
	}
	d.until("}", false)
	d.next(1)
}
