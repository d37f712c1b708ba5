package dockerfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// defaultNames are where a context keeps its Dockerfile, in the order tried.
var defaultNames = []string{"Dockerfile", "dockerfile", "Containerfile"}

// source is a Dockerfile with its context's ignore patterns.
type source struct {
	name   string // as the user gave it, or its name in the context
	text   []byte
	ignore []string
}

// readSource reads the Dockerfile and the ignore file that goes with it.
func readSource(contextDir, file string) (source, error) {
	if contextDir != "" {
		info, err := os.Stat(contextDir)
		if err != nil {
			return source{}, fmt.Errorf("build context: %w", err)
		}
		if !info.IsDir() {
			return source{}, fmt.Errorf("build context: %s is not a directory", contextDir)
		}
	}
	path, name := file, file
	if file == "" {
		var err error
		if name, err = findDockerfile(contextDir); err != nil {
			return source{}, err
		}
		path = filepath.Join(contextDir, name)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return source{}, fmt.Errorf("reading the Dockerfile: %w", err)
	}
	ignore, err := readIgnore(contextDir, path)
	return source{name: name, text: text, ignore: ignore}, err
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

// readIgnore reads the patterns of what the context leaves out: of the Dockerfile's
// own <name>.dockerignore, else of the context's .dockerignore, else none
// (Dockerfile reference, ".dockerignore file").
func readIgnore(contextDir, dockerfile string) ([]string, error) {
	if contextDir == "" {
		return nil, nil
	}
	for _, path := range []string{dockerfile + ".dockerignore", filepath.Join(contextDir, ".dockerignore")} {
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading the ignore file: %w", err)
		}
		patterns, err := ignorefile.ReadAll(bytes.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if _, err := patternmatcher.New(patterns); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return patterns, nil
	}
	return nil, nil
}
