//go:build linux

package worker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/foreign"
	"github.com/oakum-build/oakum/builder/internal/layout"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/storage"
)

// Below is where the paths of archives and layouts are looked up: a directory of this
// machine, or a stage; the zero value is nowhere.
type Below struct{ Dir, Stage string }

// pullFile pulls the image of an archive or layout. Without below its path is one of this
// machine. Else it is opened inside of that, and containers/image, which opens files by
// their paths and follows links, sees it at a place of ours where neither leads out.
func (w *worker) pullFile(ctx context.Context, call *wire.Call, p Open, choice storage.Platform) (d storage.Detail, err error) {
	img, err := w.pulling(call, p.From, func() (storage.Image, error) {
		return w.withFile(ctx, p.From, p.Below, func(ref string) (storage.Image, error) {
			return w.store.PullBase(ctx, ref, choice, w.access(call, p.Access))
		})
	})
	if err != nil {
		return storage.Detail{}, err
	}
	return w.store.Inspect(img.ID)
}

// withFile calls pull with a reference to what ref names, once that is known to be what
// can be read.
func (w *worker) withFile(ctx context.Context, ref string, below *Below, pull func(ref string) (storage.Image, error)) (img storage.Image, err error) {
	file, ok := storage.FileOf(ref)
	if !ok {
		return pull(ref)
	}
	if below == nil {
		if err := checkFile(ctx, file, file.Path, false); err != nil {
			return img, fmt.Errorf("pulling %s: %w", ref, err)
		}
		return pull(ref)
	}
	root, closeRoot, err := w.root(*below)
	if err != nil {
		return img, fmt.Errorf("pulling %s: %w", ref, err)
	}
	defer func() { err = errors.Join(err, closeRoot()) }()
	m, err := w.confine(root, file, *below)
	if err != nil {
		return img, fmt.Errorf("pulling %s: %w", ref, err)
	}
	defer func() { err = errors.Join(err, m.close()) }()
	// By descriptor, since a path may have a colon, which ends it in a reference.
	inside := fmt.Sprintf("/proc/self/fd/%d", m.root.Fd())
	if err := checkFile(ctx, file, inside, true); err != nil {
		return img, renamed(fmt.Errorf("pulling %s: %w", ref, err), file.Path, inside, m.path)
	}
	img, err = pull(storage.File{Transport: file.Transport, Path: inside, Rest: file.Rest}.String())
	return img, renamed(err, file.Path, inside, m.path)
}

// root opens where paths are looked up.
func (w *worker) root(below Below) (root *os.File, done func() error, err error) {
	switch {
	case below.Stage != "":
		m, err := w.look(below.Stage)
		if err != nil {
			return nil, nil, err
		}
		return m.root, m.close, nil
	case below.Dir != "":
		f, err := foreign.OpenDir(below.Dir)
		if err != nil {
			return nil, nil, err
		}
		return f, f.Close, nil
	}
	return nil, nil, fmt.Errorf("%w: there is no build context to take it from", errInvalid)
}

// confine opens what a path names inside root, and mounts it at a place of its own, where
// no link in it is followed.
func (w *worker) confine(root *os.File, file storage.File, below Below) (*mounted, error) {
	name := strings.TrimPrefix(path.Clean("/"+file.Path), "/")
	var f *os.File
	var err error
	switch {
	case name == "":
		f, err = foreign.OpenDirIn(root, ".")
	case file.IsDir():
		f, err = foreign.OpenDirIn(root, name)
	case below.Stage != "":
		f, err = foreign.Open(root, name)
	default:
		f, err = foreign.OpenBeneath(root, name)
	}
	var link *foreign.LinkError
	switch {
	case errors.As(err, &link) || errors.Is(err, foreign.ErrSpecial) || errors.Is(err, unix.EISDIR):
		return nil, fmt.Errorf("%w: %w", errInvalid, err)
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: it is looked up in the build context: %w", storage.ErrNotFound, err)
	case err != nil:
		return nil, err
	}
	defer f.Close()
	return w.bindFixed(f)
}

// checkFile checks that an archive is a regular file, and a layout of regular files, so
// that nobody waits for them, and that what is read whole of them is small. When it is
// confined, no link of a layout may lead out of it.
func checkFile(ctx context.Context, file storage.File, name string, confined bool) error {
	err := func() error {
		if !file.IsDir() {
			return checkArchive(ctx, file, name)
		}
		fsys := os.DirFS(name)
		if confined {
			root, err := os.OpenRoot(name)
			if err != nil {
				return err
			}
			defer root.Close()
			fsys = root.FS()
		}
		if file.Transport == "dir" {
			return layout.CheckFlat(fsys)
		}
		return layout.Check(fsys)
	}()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", storage.ErrNotFound, err)
	case errors.Is(err, foreign.ErrSpecial), err != nil && confined && !foreign.IsLimit(err): // a link leads out
		return fmt.Errorf("%w: %w", errInvalid, err)
	}
	return err
}

func checkArchive(ctx context.Context, file storage.File, name string) error {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return &fs.PathError{Op: "open", Path: name, Err: foreign.ErrSpecial}
	}
	if file.Transport == "oci-archive" {
		return layout.CheckArchive(ctx, f)
	}
	return nil
}

// renamed gives an error's text the path that the user knows.
func renamed(err error, path string, ours ...string) error {
	if err == nil {
		return nil
	}
	var pairs []string
	for _, own := range ours {
		pairs = append(pairs, own, path)
	}
	return &renamedError{err, strings.NewReplacer(pairs...).Replace(err.Error())}
}

type renamedError struct {
	error
	text string
}

func (e *renamedError) Error() string { return e.text }
func (e *renamedError) Unwrap() error { return e.error }
