package load

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/foreign"
	"github.com/oakum-build/oakum/builder/limits"
	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// Tree is a context that is at hand: a directory of this machine, or a stage with the files
// of one that was fetched. The zero Tree is no context. What it holds is foreign, so that no
// link of it is followed to what is outside.
type Tree struct {
	// Dir is the directory; "" for a stage.
	Dir string
	// Ignore are the patterns of what is not to be copied from it.
	Ignore []string

	builder func(ctx context.Context) (*builder.Builder, error)
	stage   *builder.Stage
	only    string // where its only file is from, when it is a file of the web and no archive
}

// Close ends the stage of a context that was fetched.
func (t Tree) Close() error {
	if t.stage == nil {
		return nil
	}
	return t.stage.Close()
}

// Missing says that there is no context.
func (t Tree) Missing() bool { return t.Dir == "" && t.stage == nil }

// Fetched says that the context is no directory of this machine.
func (t Tree) Fetched() bool { return t.stage != nil }

// All is a source of all files; the zero Source without a context.
func (t Tree) All() builder.Source {
	if t.stage != nil {
		return t.stage.Path()
	}
	return builder.Dir(t.Dir)
}

// Files is a source of the files that the patterns name and that are not ignored. They belong
// to root, whatever an archive says.
func (t Tree) Files(patterns ...string) builder.Source {
	files := t.All().Ignore(t.Ignore...).Select(patterns...)
	if t.stage != nil {
		files = files.OwnedByRoot()
	}
	return files
}

// Latest is the time of the latest file of a context that was fetched; nil for none. A file
// of the web that no time came with is from 1970.
func (t Tree) Latest(ctx context.Context) (*time.Time, error) {
	at, err := t.stage.LatestTime(ctx)
	if err != nil || at.IsZero() || at.Unix() == 0 {
		return nil, err
	}
	at = at.Truncate(time.Second).UTC()
	return &at, nil
}

// read reads a whole file of at most max bytes.
func (t Tree) read(ctx context.Context, name string, max int) ([]byte, error) {
	if t.stage != nil {
		return readFile(ctx, t.stage, path.Clean("/"+name), max)
	}
	text, err := t.readLocal(name, max)
	if !errors.Is(err, fs.ErrPermission) {
		return text, err
	}
	// COPY can read it all the same, since the worker is root of a user namespace.
	b, workerErr := t.builder(ctx)
	if workerErr == nil {
		text, workerErr = b.ReadFile(ctx, t.Dir, name, max+1)
	}
	switch {
	case errors.Is(workerErr, errors.ErrUnsupported):
		return nil, err
	case workerErr == nil && len(text) > max:
		return nil, &limits.LimitError{Name: name, Limit: int64(max), Unit: "bytes"}
	}
	return text, workerErr
}

func (t Tree) readLocal(name string, max int) ([]byte, error) {
	return foreign.ReadFile(t.Dir, name, int64(max))
}

// readFile reads a whole file of a stage.
func readFile(ctx context.Context, s *builder.Stage, name string, max int) ([]byte, error) {
	text, err := s.ReadFile(ctx, name, max+1)
	if err == nil && len(text) > max {
		err = &limits.LimitError{Name: name, Limit: int64(max), Unit: "bytes"}
	}
	return text, err
}

// isMissing says that there is no such file. A link that leads nowhere is one.
func isMissing(err error) bool {
	var link *foreign.LinkError
	return !errors.As(err, &link) && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, builder.ErrNotFound))
}

// find reads the first file of these names that is there, and gives the name, or "" when
// there is none.
func (t Tree) find(ctx context.Context, names []string, max int) (name string, text []byte, err error) {
	for _, name := range names {
		if text, err := t.read(ctx, name, max); !isMissing(err) {
			return name, text, err
		}
	}
	return "", nil, nil
}

// defaultNames are where a context keeps its Dockerfile, in the order tried.
var defaultNames = []string{"Dockerfile", "dockerfile", "Containerfile"}

// dockerfile reads the Dockerfile of that name, or for "" the first that is there.
func (t Tree) dockerfile(ctx context.Context, name string) (string, []byte, error) {
	names := defaultNames
	if name != "" {
		names = []string{name}
	}
	found, text, err := t.find(ctx, names, limits.MaxDockerfile)
	for i := 1; i < len(names) && errors.Is(err, syscall.EISDIR); i++ { // directories are passed over
		found, text, err = t.find(ctx, names[i:], limits.MaxDockerfile)
	}
	if err == nil && found == "" {
		last := len(names) - 1
		list := strings.TrimPrefix(strings.Join(names[:last], ", ")+" or "+names[last], " or ")
		err = fmt.Errorf("no %s in %s: %w", list, cmp.Or(t.Dir, "the build context"), fs.ErrNotExist)
	}
	return found, text, hinted(err, "name the file that it leads to by --file, if that is meant")
}

// hinted adds a hint to the error of a link.
func hinted(err error, hint string) error {
	var link *foreign.LinkError
	if errors.As(err, &link) {
		return &plan.Fault{Err: err, Hint: hint}
	}
	return err
}

// inside gives a file's path in a directory when it is in it, by their names.
func inside(dir, file string) (name string, ok bool) {
	absDir, err := filepath.Abs(dir)
	if err != nil || dir == "" {
		return "", false
	}
	absFile, err := filepath.Abs(file)
	if err != nil {
		return "", false
	}
	name, err = filepath.Rel(absDir, absFile)
	return name, err == nil && filepath.IsLocal(name)
}

// readNamed reads a Dockerfile or ignore file that the caller named: inside the context as
// its other files, and anywhere else as it is.
func (t Tree) readNamed(ctx context.Context, file string, max int) ([]byte, error) {
	if name, ok := inside(t.Dir, file); ok && t.stage == nil {
		return t.read(ctx, name, max)
	}
	text, err := foreign.ReadNamed(ctx, file, int64(max))
	if !errors.Is(err, fs.ErrPermission) {
		return text, err
	}
	real, linkErr := filepath.EvalSymlinks(file)
	if linkErr != nil {
		return nil, err
	}
	return Tree{builder: t.builder, Dir: filepath.Dir(real)}.read(ctx, filepath.Base(real), max)
}
