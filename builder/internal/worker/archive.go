//go:build linux

package worker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/foreign"
	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/input"
	"github.com/oakum-build/oakum/builder/internal/layout"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/imageref"
	"github.com/oakum-build/oakum/storage/platform"
)

// pullFile pulls the image of an archive or layout. Without below its path is one of this
// machine. Else it is opened inside of that, and containers/image, which opens files by
// their paths and follows links, sees it at a place of ours where neither leads out.
func (w *worker) pullFile(ctx context.Context, call *wire.Call, p input.Image, choice platform.Platform) (d storage.Detail, err error) {
	img, err := w.pulling(call, p.Ref, func() (storage.Image, error) {
		return w.withFile(ctx, call, p.Ref, p.Below, func(ref string) (storage.Image, error) {
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
func (w *worker) withFile(ctx context.Context, call *wire.Call, ref string, below *input.Source, pull func(ref string) (storage.Image, error)) (img storage.Image, err error) {
	file, ok := imageref.ParseFile(ref)
	if !ok {
		return pull(ref)
	}
	if below == nil {
		if err := checkFile(ctx, file, file.Path, fs.Lstat); err != nil {
			return img, fmt.Errorf("pulling %s: %w", ref, err)
		}
		return pull(ref)
	}
	in, err := input.Find(ctx, w.inputs(call, false, nil), *below)
	if input.IsNone(err) {
		return img, fmt.Errorf("pulling %s: %w: there is no build context to take it from", ref, errdefs.ErrInvalid)
	}
	if err != nil {
		return img, fmt.Errorf("pulling %s: %w", ref, err)
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	place, err := w.confine(ctx, in, file)
	if err != nil {
		return img, fmt.Errorf("pulling %s: %w", ref, err)
	}
	defer func() { err = errors.Join(err, place.close()) }()
	// By descriptor, since a path may have a colon, which ends it in a reference.
	inside := fmt.Sprintf("/proc/self/fd/%d", place.root.Fd())
	if err := checkFile(ctx, file, inside, fs.Stat); err != nil {
		if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
			err = fmt.Errorf("%w: a link in it is not followed: %w", errdefs.ErrInvalid, err)
		}
		return img, renamed(fmt.Errorf("pulling %s: %w", ref, err), file.Path, inside, place.path)
	}
	img, err = pull(imageref.File{Transport: file.Transport, Path: inside, Rest: file.Rest}.String())
	return img, renamed(err, file.Path, inside, place.path)
}

// checkFile checks that an archive is a regular file, and a layout of regular files, so
// that nobody waits for them, and that what is read whole of them is small. stat follows links
// where they are of our own.
func checkFile(ctx context.Context, file imageref.File, name string, stat func(fs.FS, string) (fs.FileInfo, error)) error {
	err := func() error {
		if !file.IsDir() {
			return checkArchive(ctx, file, name)
		}
		if file.Transport == "dir" {
			return layout.CheckFlat(os.DirFS(name), stat)
		}
		return layout.Check(os.DirFS(name))
	}()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", storage.ErrNotFound, err)
	case errors.Is(err, foreign.ErrSpecial):
		return fmt.Errorf("%w: %w", errdefs.ErrInvalid, err)
	}
	return err
}

func checkArchive(ctx context.Context, file imageref.File, name string) error {
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
