package dockerfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
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

// readSource reads the Dockerfile, and the ignore file that goes with it, from this
// machine.
func readSource(o Options) (source, error) {
	contextDir, file := o.ContextDir, o.File
	if contextDir != "" {
		info, err := os.Stat(contextDir)
		if err != nil {
			return source{}, fmt.Errorf("build context: %w", err)
		}
		if !info.IsDir() {
			return source{}, fmt.Errorf("build context: %s is not a directory", contextDir)
		}
	}
	if o.Dockerfile != nil {
		return readStream(o)
	}
	path, name := file, file
	if file == "" {
		var err error
		if name, err = findDockerfile(contextDir); err != nil {
			return source{}, err
		}
		path = filepath.Join(contextDir, name)
	}
	text, err := readLocal(path)
	if err != nil {
		return source{}, fmt.Errorf("reading the Dockerfile: %w", err)
	}
	src := source{name: name, text: text}
	src.ignore, err = readIgnore(contextDir, path, o.IgnoreFile)
	return src, err
}

// readStream is readSource for a Dockerfile that is no file.
func readStream(o Options) (source, error) {
	src := source{name: o.dockerfileName()}
	var err error
	if src.text, err = readText(o.Dockerfile); err != nil {
		return source{}, fmt.Errorf("reading the Dockerfile: %w", err)
	}
	src.ignore, err = readIgnore(o.ContextDir, filepath.Join(o.ContextDir, "Dockerfile"), o.IgnoreFile)
	return src, err
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

// findDockerfile gives the name of the Dockerfile in a context.
func findDockerfile(dir string) (string, error) {
	for _, name := range defaultNames {
		info, err := os.Stat(filepath.Join(dir, name))
		if err == nil && !info.IsDir() {
			return name, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("looking for the Dockerfile: %w", err)
		}
	}
	return "", fmt.Errorf("no Dockerfile, dockerfile or Containerfile in %s: %w", dir, fs.ErrNotExist)
}

// readIgnore reads the patterns of what the context leaves out: of the ignore file that
// is given, else of the Dockerfile's own <name>.containerignore or <name>.dockerignore,
// else of the context's .containerignore or .dockerignore, else none (Dockerfile
// reference, ".dockerignore file"; containerignore(5)).
func readIgnore(contextDir, dockerfile, given string) ([]string, error) {
	if contextDir == "" {
		return nil, nil
	}
	if given != "" {
		text, err := os.ReadFile(given)
		if err != nil {
			return nil, fmt.Errorf("reading the ignore file: %w", err)
		}
		return parseIgnore(given, text)
	}
	return firstIgnore(dockerfile+".containerignore", dockerfile+".dockerignore",
		filepath.Join(contextDir, ".containerignore"), filepath.Join(contextDir, ".dockerignore"))
}

// ignoreOf reads the patterns of what a directory leaves out as a named context.
func ignoreOf(dir string) ([]string, error) {
	return firstIgnore(filepath.Join(dir, ".containerignore"), filepath.Join(dir, ".dockerignore"))
}

// firstIgnore reads the first ignore file that is there.
func firstIgnore(paths ...string) ([]string, error) {
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading the ignore file: %w", err)
		}
		return parseIgnore(path, text)
	}
	return nil, nil
}
