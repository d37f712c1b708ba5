package dockerfile

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/bytetext"
	"github.com/oakum-build/oakum/builder/foreign"
	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// defaultNames are where a context keeps its Dockerfile, in the order tried.
var defaultNames = []string{"Dockerfile", "dockerfile", "Containerfile"}

// source is a Dockerfile with its context's ignore patterns.
type source struct {
	name   string // as the user gave it, or its name in the context
	text   []byte // with that of more
	ignore []string
	more   []part
	// context holds the context's files when they are in no directory of this machine.
	context stage
}

// close ends what was opened for the context.
func (s source) close() error {
	if s.context == nil {
		return nil
	}
	return s.context.Close()
}

// part is a further Dockerfile, from the line first of the text on.
type part struct {
	name  string
	first int
}

// place gives the file that a line of the text is in: its name and text, and the lines
// before it.
func (s source) place(line int) (name, text string, before int) {
	name, text = s.name, string(s.text)
	lines := strings.SplitAfter(text, "\n")
	end := len(lines)
	for _, p := range slices.Backward(s.more) {
		if line >= p.first {
			return p.name, strings.Join(lines[p.first-1:end], ""), p.first - 1
		}
		end = p.first - 1
	}
	return name, strings.Join(lines[:end], ""), 0
}

// localSource reads the Dockerfile, and the ignore file that goes with it, from this
// machine.
func localSource(ctx context.Context, lib backend, o Options) (source, error) {
	in := tree{lib: lib, dir: o.ContextDir}
	if in.dir != "" {
		info, err := os.Stat(in.dir)
		if err != nil {
			return source{}, fmt.Errorf("build context: %w", err)
		}
		if !info.IsDir() {
			return source{}, fmt.Errorf("build context: %s is not a directory", in.dir)
		}
	}
	src := source{name: o.File}
	beside, name := in, "Dockerfile" // where its own ignore files are
	var err error
	switch {
	case o.Dockerfile != nil:
		src.name = o.dockerfileName()
		src.text, err = foreign.ReadAll(ctx, o.Dockerfile, src.name, foreign.MaxDockerfile)
	case o.File == "":
		src.name, src.text, err = in.dockerfile(ctx, "")
		name = src.name
	default:
		src.text, err = in.readNamed(ctx, o.File, foreign.MaxDockerfile)
		err = hinted(err, "name the file that it leads to by --file, if that is meant")
		var isIn bool
		if name, isIn = inside(in.dir, o.File); !isIn {
			beside, name = tree{lib: lib, dir: filepath.Dir(o.File)}, filepath.Base(o.File)
		}
	}
	if err != nil {
		return source{}, readingFault(err)
	}
	src.ignore, err = readIgnore(ctx, in, beside, name, o.IgnoreFile)
	return src, err
}

// stageSource reads the Dockerfile of a context that is a stage, which the source has on
// an error, too.
func stageSource(ctx context.Context, lib backend, s stage, opts Options) (src source, err error) {
	in := tree{lib: lib, stage: s}
	src = source{name: opts.File, context: s}
	if opts.Dockerfile != nil {
		src.name = opts.dockerfileName()
		src.text, err = foreign.ReadAll(ctx, opts.Dockerfile, src.name, foreign.MaxDockerfile)
	} else {
		src.name, src.text, err = in.dockerfile(ctx, opts.File)
	}
	if err != nil {
		return src, readingFault(err)
	}
	src.ignore, err = readIgnore(ctx, in, in, src.name, opts.IgnoreFile)
	return src, err
}

// readingFault says that it is the Dockerfile that cannot be read.
func readingFault(err error) error {
	var located *Error
	if errors.As(err, &located) {
		located.Err = fmt.Errorf("reading the Dockerfile: %w", located.Err)
		return located
	}
	return fmt.Errorf("reading the Dockerfile: %w", err)
}

// add appends a further Dockerfile. Parser directives count in the first one only.
func (s *source) add(file string, text []byte) error {
	escape := func(text []byte) string {
		value, _, _, _ := parser.ParseDirective("escape", text)
		return value
	}
	if own := escape(text); own != "" && own != escape(s.text) {
		return fmt.Errorf("%s: escape=%s is not that of %s: %w", file, own, s.name, errors.ErrUnsupported)
	}
	if !bytes.HasSuffix(s.text, []byte("\n")) {
		s.text = append(s.text, '\n')
	}
	s.more = append(s.more, part{file, bytes.Count(s.text, []byte("\n")) + 1})
	s.text = append(s.text, bytes.TrimPrefix(text, []byte("\ufeff"))...)
	return nil
}

// readIgnore reads the patterns of what the context leaves out: of the ignore file that
// is given, else of the Dockerfile's own <name>.containerignore or <name>.dockerignore
// beside it, else of the context's .containerignore or .dockerignore, else none (Dockerfile
// reference, ".dockerignore file"; containerignore(5)).
func readIgnore(ctx context.Context, in, beside tree, name, given string) ([]string, error) {
	if in.dir == "" && in.stage == nil {
		return nil, nil
	}
	if given != "" {
		text, err := in.readNamed(ctx, given, foreign.MaxIgnoreFile)
		if err != nil {
			return nil, ignoreFault(err)
		}
		return parseIgnore(given, text)
	}
	found, patterns, err := beside.ignore(ctx, name+".containerignore", name+".dockerignore")
	if found || err != nil {
		return patterns, err
	}
	_, patterns, err = in.ignore(ctx, ".containerignore", ".dockerignore")
	return patterns, err
}

// parseIgnore reads the text of an ignore file.
func parseIgnore(name string, text []byte) ([]string, error) {
	if encoding := plan.Encoding(text); encoding != "" {
		return nil, fmt.Errorf("%s: %w: it is %s; save it as UTF-8", name, builder.ErrInvalid, encoding)
	}
	patterns, err := ignorefile.ReadAll(bytes.NewReader(text))
	if errors.Is(err, bufio.ErrTooLong) {
		err = &foreign.LimitError{What: "the length of a pattern", Limit: foreign.MaxPattern, Unit: "bytes"}
	}
	if err == nil {
		err = checkPatterns(patterns)
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

// checkPatterns keeps the patterns of what is left out to what can be compared with each
// path of a context in a short time.
func checkPatterns(patterns []string) error {
	wildcards := 0
	for _, p := range patterns {
		if len(p) > foreign.MaxPattern {
			return &foreign.LimitError{What: "the length of a pattern", Limit: foreign.MaxPattern, Unit: "bytes"}
		}
		rest := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(p, "!"), "**"), "**")
		for _, wildcard := range []string{"*", "?", "["} {
			wildcards += strings.Count(strings.ReplaceAll(rest, "**", "*"), wildcard)
		}
	}
	switch {
	case len(patterns) > foreign.MaxPatterns:
		return &foreign.LimitError{What: "the number of patterns", Limit: foreign.MaxPatterns, Unit: "patterns"}
	case wildcards > foreign.MaxWildcards:
		return &foreign.LimitError{What: "the number of wildcards in all patterns", Limit: foreign.MaxWildcards, Unit: "wildcards"}
	}
	return nil
}
