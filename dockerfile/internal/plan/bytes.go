package plan

import (
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"

	"github.com/oakum-build/oakum/builder/bytetext"
)

// A Dockerfile may hold bytes that are not UTF-8, as in a path or a command of an older
// encoding. BuildKit's parser and lexer make U+FFFD of them in some places; what goes into
// them is encoded therefore, and what comes out of them decoded.

// read parses a text with BuildKit's parser.
func read(text []byte) (*parser.Result, error) {
	tree, err := parseLines([]byte(bytetext.Encode(string(text))))
	if err == nil {
		decodeTree(tree.AST)
	}
	return tree, err
}

// decodeTree decodes a tree but for the names of here-documents and the words that have
// them, which BuildKit's packages give to a lexer once more; Bytes decodes those.
func decodeTree(n *parser.Node) {
	for ; n != nil; n = n.Next {
		if n.Original = bytetext.Decode(n.Original); !isHeredoc(n.Value) {
			n.Value = bytetext.Decode(n.Value)
		}
		n.Flags, n.PrevComment = decodeWords(n.Flags), decodeWords(n.PrevComment)
		for i := range n.Heredocs {
			n.Heredocs[i].Content = bytetext.Decode(n.Heredocs[i].Content)
		}
		for _, child := range n.Children {
			decodeTree(child)
		}
	}
}

// isHeredoc says whether a text begins with a here-document.
func isHeredoc(text string) bool {
	return strings.HasPrefix(strings.TrimLeft(text, "0123456789"), "<<")
}

// Bytes is the name of a here-document as it is written.
func Bytes(name string) string { return bytetext.Decode(name) }

// encodedVars are variables as the lexer is to see them.
type encodedVars struct{ shell.EnvGetter }

func (v encodedVars) Get(name string) (string, bool) {
	value, ok := v.EnvGetter.Get(bytetext.Decode(name))
	return bytetext.Encode(value), ok
}

func (v encodedVars) Keys() []string {
	var keys []string
	for _, key := range v.EnvGetter.Keys() {
		keys = append(keys, bytetext.Encode(key))
	}
	return keys
}

// decodeResult decodes what the lexer makes of a word.
func decodeResult(r shell.ProcessWordResult) shell.ProcessWordResult {
	r.Result, r.Words = bytetext.Decode(r.Result), decodeWords(r.Words)
	r.Matched, r.Unmatched = decodeKeys(r.Matched), decodeKeys(r.Unmatched)
	return r
}

// decodeWords decodes texts in place.
func decodeWords(words []string) []string {
	for i, word := range words {
		words[i] = bytetext.Decode(word)
	}
	return words
}

func decodeKeys(names map[string]struct{}) map[string]struct{} {
	for name := range names {
		if bytetext.Has(name) {
			delete(names, name)
			names[bytetext.Decode(name)] = struct{}{}
		}
	}
	return names
}
