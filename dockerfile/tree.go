package dockerfile

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

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/foreign"
)

// tree is where a Dockerfile and ignore files are looked up: a directory of this machine,
// or a stage with the files of a context that was fetched. What it holds is foreign, so that
// no link of it is followed to what is outside.
type tree struct {
	lib   backend
	dir   string
	stage stage // or nil
}

// read reads a whole file of at most max bytes.
func (t tree) read(ctx context.Context, name string, max int) ([]byte, error) {
	if t.stage != nil {
		return readFile(ctx, t.stage, path.Clean("/"+name), max)
	}
	text, err := t.readLocal(name, max)
	if !errors.Is(err, fs.ErrPermission) {
		return text, err
	}
	// COPY can read it all the same, since the worker is root of a user namespace.
	text, workerErr := t.lib.ReadFile(ctx, t.dir, name, max+1)
	switch {
	case errors.Is(workerErr, errors.ErrUnsupported):
		return nil, err
	case workerErr == nil && len(text) > max:
		return nil, &foreign.LimitError{Name: name, Limit: int64(max), Unit: "bytes"}
	}
	return text, workerErr
}

func (t tree) readLocal(name string, max int) ([]byte, error) {
	root, err := foreign.OpenDir(t.dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return foreign.ReadFile(root, name, int64(max))
}

// readFile reads a whole file of a stage.
func readFile(ctx context.Context, s stage, name string, max int) ([]byte, error) {
	text, err := s.ReadFile(ctx, name, max+1)
	if err == nil && len(text) > max {
		err = &foreign.LimitError{Name: name, Limit: int64(max), Unit: "bytes"}
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
func (t tree) find(ctx context.Context, names []string, max int) (name string, text []byte, err error) {
	for _, name := range names {
		if text, err := t.read(ctx, name, max); !isMissing(err) {
			return name, text, err
		}
	}
	return "", nil, nil
}

// dockerfile reads the Dockerfile of that name, or for "" the first that is there.
func (t tree) dockerfile(ctx context.Context, name string) (string, []byte, error) {
	names := defaultNames
	if name != "" {
		names = []string{name}
	}
	found, text, err := t.find(ctx, names, foreign.MaxDockerfile)
	for i := 1; i < len(names) && errors.Is(err, syscall.EISDIR); i++ { // directories are passed over
		found, text, err = t.find(ctx, names[i:], foreign.MaxDockerfile)
	}
	if err == nil && found == "" {
		last := len(names) - 1
		list := strings.TrimPrefix(strings.Join(names[:last], ", ")+" or "+names[last], " or ")
		err = fmt.Errorf("no %s in %s: %w", list, cmp.Or(t.dir, "the build context"), fs.ErrNotExist)
	}
	return found, text, hinted(err, "name the file that it leads to by --file, if that is meant")
}

// ignore reads the patterns of what a context leaves out, of the first ignore file that is
// there.
func (t tree) ignore(ctx context.Context, names ...string) (found bool, patterns []string, err error) {
	name, text, err := t.find(ctx, names, foreign.MaxIgnoreFile)
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

// hinted adds a hint to the error of a link.
func hinted(err error, hint string) error {
	var link *foreign.LinkError
	if errors.As(err, &link) {
		return &Error{Err: err, Hint: hint}
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
func (t tree) readNamed(ctx context.Context, file string, max int) ([]byte, error) {
	if name, ok := inside(t.dir, file); ok && t.stage == nil {
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
	return tree{lib: t.lib, dir: filepath.Dir(real)}.read(ctx, filepath.Base(real), max)
}
