package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/bytetext"
	"github.com/oakum-build/oakum/builder/limits"
	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// ignoreFor reads the patterns of what the context leaves out: of the ignore file that
// is given, else of the Dockerfile's own <name>.containerignore or <name>.dockerignore
// beside it, else of the context's .containerignore or .dockerignore, else none (Dockerfile
// reference, ".dockerignore file"; containerignore(5)).
func (t Tree) ignoreFor(ctx context.Context, dockerfile found, given string) ([]string, error) {
	if t.Missing() {
		return nil, nil
	}
	if given != "" {
		text, err := t.readNamed(ctx, given, limits.MaxIgnoreFile)
		if err != nil {
			return nil, ignoreFault(err)
		}
		return parseIgnore(given, text)
	}
	found, patterns, err := dockerfile.beside.ignore(ctx, dockerfile.base+".containerignore", dockerfile.base+".dockerignore")
	if found || err != nil {
		return patterns, err
	}
	_, patterns, err = t.ignore(ctx, ".containerignore", ".dockerignore")
	return patterns, err
}

// ignore reads the patterns of what a context leaves out, of the first ignore file that is
// there.
func (t Tree) ignore(ctx context.Context, names ...string) (found bool, patterns []string, err error) {
	name, text, err := t.find(ctx, names, limits.MaxIgnoreFile)
	if err != nil || name == "" {
		return false, nil, ignoreFault(err)
	}
	patterns, err = parseIgnore(name, text)
	return true, patterns, err
}

// ignoreFault is an error of reading an ignore file. What the file says is not guessed: the
// image might get what it was to keep out.
func ignoreFault(err error) error {
	if err == nil {
		return nil
	}
	return hinted(fmt.Errorf("reading the ignore file: %w", err), "name the file that it leads to by --ignorefile, if that is meant, or remove the link")
}

// parseIgnore reads the text of an ignore file.
func parseIgnore(name string, text []byte) ([]string, error) {
	if encoding := plan.Encoding(text); encoding != "" {
		return nil, fmt.Errorf("%s: %w: it is %s; save it as UTF-8", name, builder.ErrInvalid, encoding)
	}
	patterns, err := ignorefile.ReadAll(bytes.NewReader(text))
	if errors.Is(err, bufio.ErrTooLong) {
		err = &limits.LimitError{What: "the length of a pattern", Limit: limits.MaxPattern, Unit: "bytes"}
	}
	if err == nil {
		err = CheckPatterns(patterns)
	}
	if err == nil {
		_, err = patternmatcher.New(encoded(patterns))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return patterns, nil
}

// encoded makes texts UTF-8, which patterns are compiled from.
func encoded(texts []string) []string {
	out := make([]string, len(texts))
	for i, text := range texts {
		out[i] = bytetext.Encode(text)
	}
	return out
}

// CheckPatterns keeps the patterns of what is left out to what can be compared with each
// path of a context in a short time.
func CheckPatterns(patterns []string) error {
	wildcards := 0
	for _, p := range patterns {
		if len(p) > limits.MaxPattern {
			return &limits.LimitError{What: "the length of a pattern", Limit: limits.MaxPattern, Unit: "bytes"}
		}
		rest := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(p, "!"), "**"), "**")
		for _, wildcard := range []string{"*", "?", "["} {
			wildcards += strings.Count(strings.ReplaceAll(rest, "**", "*"), wildcard)
		}
	}
	switch {
	case len(patterns) > limits.MaxPatterns:
		return &limits.LimitError{What: "the number of patterns", Limit: limits.MaxPatterns, Unit: "patterns"}
	case wildcards > limits.MaxWildcards:
		return &limits.LimitError{What: "the number of wildcards in all patterns", Limit: limits.MaxWildcards, Unit: "wildcards"}
	}
	return nil
}
