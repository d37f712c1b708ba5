package conformance

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Words are what stands for the words that README.md lists.
type Words struct {
	Dir, URL, Registry string
	User               int
}

// Expand replaces the words in a text.
func (w Words) Expand(text string) string {
	return strings.NewReplacer("@DIR@", w.Dir, "@URL@", w.URL, "@REGISTRY@", w.Registry, "@USER@", fmt.Sprint(w.User)).Replace(text)
}

// Write writes the case's files into a directory, which it makes, and setup.sh beside it, whose path it gives if
// there is one: it is to be run in the directory by sh -eu.
func (c *Case) Write(dir string, expand func(string) string) (setup string, err error) {
	errs := []error{os.MkdirAll(dir, 0o755)}
	for _, file := range c.Files {
		errs = append(errs, write(filepath.Join(dir, file.Name), expand(string(file.Data))))
	}
	if c.Setup != "" {
		setup = filepath.Join(filepath.Dir(dir), "setup.sh")
		errs = append(errs, write(setup, expand(c.Setup)))
	}
	return setup, errors.Join(errs...)
}

func write(name, content string) error {
	return errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(content), 0o644))
}

// Base writes the files of the directory that name the case's base image again, with its name, and gives a
// builder's arguments for building that first; nil when the case has none.
func (c *Case) Base(dir, name string, expand func(string) string) ([]string, error) {
	if !c.has("Dockerfile.base") {
		return nil, nil
	}
	var errs []error
	for _, file := range c.Files {
		if file.Name == "Dockerfile.base" || file.Name == "Dockerfile" {
			errs = append(errs, write(filepath.Join(dir, file.Name), strings.ReplaceAll(expand(string(file.Data)), "@BASE@", name)))
		}
	}
	return []string{"-f", "Dockerfile.base", "-t", name, "."}, errors.Join(errs...)
}

func (c *Case) has(name string) bool {
	for _, file := range c.Files {
		if file.Name == name {
			return true
		}
	}
	return false
}

// Arguments are a builder's arguments for the case, with the builder's own flags.
func (c *Case) Arguments(own []string, expand func(string) string) []string {
	var args []string
	for _, arg := range slices.Concat(own, c.Args) {
		args = append(args, expand(arg))
	}
	if c.Context != "none" {
		args = append(args, expand(c.Context))
	}
	return args
}
