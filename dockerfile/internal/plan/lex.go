package plan

import (
	"strings"
	"unicode"

	"github.com/moby/buildkit/frontend/dockerfile/shell"

	"github.com/oakum-build/oakum/builder/bytetext"
	"github.com/oakum-build/oakum/builder/limits"
)

// lexer is BuildKit's lexer. Of what that refuses it also takes ${v/p} and ${v//p}, which
// delete p as in bash and Buildah. It belongs to one goroutine.
//
// What a word may ask for is limited, as is what all words of a lexer may.
type lexer struct {
	*shell.Lex
	escape rune
	spent  int // what variables put into all words so far
}

// newLexer makes a lexer with an escape character.
func newLexer(escape rune) *lexer { return &lexer{Lex: shell.NewLex(escape), escape: escape} }

// ProcessWord is that of shell.Lex.
func (l *lexer) ProcessWord(word string, env shell.EnvGetter) (string, map[string]struct{}, error) {
	result, err := l.ProcessWordWithMatches(word, env)
	return result.Result, result.Unmatched, err
}

// ProcessWords is that of shell.Lex.
func (l *lexer) ProcessWords(word string, env shell.EnvGetter) ([]string, error) {
	words, err := retry(l, bytetext.Encode(word), encodedVars{env}, l.Lex.ProcessWords)
	return decodeWords(words), err
}

// ProcessWordWithMatches is that of shell.Lex.
func (l *lexer) ProcessWordWithMatches(word string, env shell.EnvGetter) (shell.ProcessWordResult, error) {
	result, err := retry(l, bytetext.Encode(word), encodedVars{env}, l.Lex.ProcessWordWithMatches)
	return decodeResult(result), err
}

// retry tries a word that is refused again, with its deletions written out.
func retry[T any](l *lexer, word string, env shell.EnvGetter, process func(string, shell.EnvGetter) (T, error)) (T, error) {
	result, err := within(l, word, env, process)
	if err == nil || limits.IsLimit(err) {
		return result, err
	}
	if d := l.walk(word); d.found {
		if again, err := within(l, d.out.String(), env, process); err == nil || limits.IsLimit(err) {
			return again, err
		}
	}
	return result, wordError{err}
}

// within processes a word within the limits.
func within[T any](l *lexer, word string, env shell.EnvGetter, process func(string, shell.EnvGetter) (T, error)) (result T, err error) {
	if err := l.checkWord(word); err != nil {
		return result, err
	}
	m, err := l.meter(word, env)
	if err != nil {
		return result, err
	}
	result, err = process(word, m)
	l.spent += m.given
	if m.fault != nil {
		var none T
		return none, m.fault
	}
	return result, err
}

// walk looks at a word, and writes its deletions out.
func (l *lexer) walk(word string) *deletions {
	d := &deletions{in: []rune(word), escape: l.escape, quotes: !l.SkipProcessQuotes}
	d.until("", false)
	return d
}

// wordError is an error of BuildKit's lexer, in words.
type wordError struct{ error }

// endOfWord is what the lexer takes the end of a word for, when it wants a modifier.
const endOfWord = "unsupported modifier (\ufffd) in substitution"

// shownWord bounds what of a word an error shows, at both ends.
const shownWord = 400

func (e wordError) Error() string {
	text := bytetext.Decode(strings.Replace(e.error.Error(), endOfWord, "syntax error: missing '}'", 1))
	if len(text) > 2*shownWord {
		text = text[:shownWord] + " ... " + text[len(text)-shownWord:]
	}
	return strings.ToValidUTF8(text, "?")
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

	// How many ${...}, and how many with texts for their matches, lie in each other.
	depth, deepest         int
	textDepth, deepestText int
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
	d.depth++
	defer func() { d.depth-- }()
	if d.deepest = max(d.deepest, d.depth); d.depth > limits.MaxNesting {
		d.next(len(d.in)) // which is refused
		return
	}
	for r := d.peek(0); r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r); r = d.peek(0) {
		d.next(1)
	}
	if d.peek(0) == '/' {
		d.textDepth++
		defer func() { d.textDepth-- }()
		d.deepestText = max(d.deepestText, d.textDepth)
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
