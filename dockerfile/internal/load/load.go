// Package load finds what a build is made of: the files of its contexts, its Dockerfiles and
// its ignore files, wherever they are. It goes down in one pass: where a context is, is read
// once; it is then opened as a [Tree], a directory of this machine or a stage with what was
// fetched; in that the Dockerfile and the ignore file are looked up. Named contexts go the
// same way.
package load

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/foreign"
	"github.com/oakum-build/oakum/builder/limits"
	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// Context is where the files are that COPY and ADD read: at most one of Dir, URL and Stream.
type Context struct {
	Dir        string
	URL        string
	Stream     io.Reader
	IgnoreFile string
	Named      map[string]string
}

// File is how a Dockerfile is given.
type File struct {
	Path string
	Text io.Reader
	More []string
}

// Loader loads what a build is made of.
type Loader struct {
	// Builder gives the Builder that fetches, unpacks and reads what only a worker can. It is
	// called when that is needed, maybe several times. An error that matches
	// errors.ErrUnsupported says that there is none.
	Builder func(ctx context.Context) (*builder.Builder, error)
	// Remote makes a source of what is to be fetched: of a git repository, or of a file of
	// the web. It has the credentials.
	Remote func(ctx context.Context, ref string) (builder.Source, error)
	// Args are the build arguments, of which some say how a repository is taken.
	Args map[string]string
}

// Loaded is a Dockerfile with its context.
type Loaded struct {
	Context Tree
	Name    string // as the user gave it, or its name in the context
	Text    []byte // with that of further ones

	more  []part
	lines []string // of the text
}

// part is a further Dockerfile, from the line first of the text on.
type part struct {
	name  string
	first int
}

// Load opens the context, and reads the Dockerfiles and the patterns of the ignore file. The
// error of a link that leads nowhere is a *plan.Fault. What is loaded must be closed.
func (l Loader) Load(ctx context.Context, from Context, file File) (*Loaded, error) {
	in, err := l.context(ctx, from, &file)
	if err != nil {
		return nil, err
	}
	loaded, err := l.read(ctx, in, file, from.IgnoreFile)
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	return loaded, nil
}

// read reads the Dockerfiles and the ignore file of a context.
func (l Loader) read(ctx context.Context, in Tree, file File, ignoreFile string) (*Loaded, error) {
	first, err := l.first(ctx, in, file)
	if err != nil {
		return nil, reading(err)
	}
	loaded := &Loaded{Context: in, Name: first.name, Text: first.text}
	for _, path := range file.More {
		more, err := l.dockerfile(ctx, in, path)
		if err != nil {
			return nil, reading(err)
		}
		more.name = plan.Redact(path)
		if err := loaded.add(more); err != nil {
			return nil, err
		}
	}
	loaded.lines = strings.Split(strings.TrimSuffix(string(loaded.Text), "\n"), "\n")
	loaded.Context.Ignore, err = in.ignoreFor(ctx, first, ignoreFile)
	return loaded, err
}

// Close ends what was opened for the context.
func (l *Loaded) Close() error { return l.Context.Close() }

// File gives the file that a line of the text is in: its name and lines, and the number of
// those before it.
func (l *Loaded) File(line int) (name string, lines []string, before int) {
	end := len(l.lines)
	for _, p := range slices.Backward(l.more) {
		if line >= p.first {
			return p.name, l.lines[min(p.first-1, end):end], p.first - 1
		}
		end = min(p.first-1, end)
	}
	return l.Name, l.lines[:end], 0
}

// add appends a further Dockerfile. Parser directives count in the first one only.
func (l *Loaded) add(f found) error {
	escape := func(text []byte) string {
		value, _, _, _ := parser.ParseDirective("escape", text)
		return value
	}
	if own := escape(f.text); own != "" && own != escape(l.Text) {
		return fmt.Errorf("%s: escape=%s is not that of %s: %w", f.name, own, l.Name, errors.ErrUnsupported)
	}
	if !bytes.HasSuffix(l.Text, []byte("\n")) {
		l.Text = append(l.Text, '\n')
	}
	l.more = append(l.more, part{f.name, bytes.Count(l.Text, []byte("\n")) + 1})
	l.Text = append(l.Text, bytes.TrimPrefix(f.text, []byte("\ufeff"))...)
	return nil
}

// found is a Dockerfile, and where its own ignore files are: beside it, with names that begin
// with base.
type found struct {
	name   string
	text   []byte
	beside Tree
	base   string
}

// usualName is what a Dockerfile that is no file is called.
const usualName = "Dockerfile"

// first reads the Dockerfile that goes before others.
func (l Loader) first(ctx context.Context, in Tree, file File) (found, error) {
	if file.Text != nil {
		name := cmp.Or(file.Path, usualName)
		text, err := foreign.ReadAll(ctx, file.Text, name, limits.MaxDockerfile)
		return found{name, text, in, usualName}, err
	}
	if in.only != "" { // BuildKit takes it for the Dockerfile
		f, err := l.dockerfile(ctx, in, fetched)
		f.name = in.only
		return f, err
	}
	return l.dockerfile(ctx, in, file.Path)
}

// dockerfile reads a Dockerfile: of the web, of a context that was fetched, or of this
// machine. "" is the context's.
func (l Loader) dockerfile(ctx context.Context, in Tree, path string) (found, error) {
	switch {
	case isURL(path):
		text, err := l.download(ctx, path)
		return found{plan.Redact(path), text, in, usualName}, err
	case path == "" || in.stage != nil:
		name, text, err := in.dockerfile(ctx, path)
		return found{name, text, in, name}, err
	}
	text, err := in.readNamed(ctx, path, limits.MaxDockerfile)
	err = hinted(err, "name the file that it leads to by --file, if that is meant")
	if name, isIn := inside(in.Dir, path); isIn {
		return found{path, text, in, name}, err
	}
	return found{path, text, Tree{builder: l.Builder, Dir: filepath.Dir(path)}, filepath.Base(path)}, err
}

// reading says that it is the Dockerfile that cannot be read.
func reading(err error) error {
	var f *plan.Fault
	if errors.As(err, &f) {
		return &plan.Fault{Err: fmt.Errorf("reading the Dockerfile: %w", f.Err), Hint: f.Hint}
	}
	return fmt.Errorf("reading the Dockerfile: %w", err)
}

// keepGitDir is the build argument that keeps the .git directory of a context, as in
// BuildKit, and epoch that which wants the time of a source.
const (
	keepGitDir = "BUILDKIT_CONTEXT_KEEP_GIT_DIR"
	epoch      = "SOURCE_DATE_EPOCH"
)

// asContext says how the files of a repository are taken that is the build context: as the
// build arguments say, as in BuildKit.
func (l Loader) asContext(repository builder.Source) builder.Source {
	if keep, err := strconv.ParseBool(l.Args[keepGitDir]); err == nil && keep {
		repository = repository.KeepGitDir(true)
	}
	if l.Args[epoch] != "" {
		repository = repository.CommitTimes()
	}
	return repository
}
