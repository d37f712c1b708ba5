//go:build linux

package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/foreign"
	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/builder/internal/input"
	"github.com/oakum-build/oakum/builder/internal/userns"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/imageref"
)

// confined is the file or directory of an image, at a place where nobody can change what its
// paths lead to, for who opens files by paths.
type confined struct {
	path  string
	root  *os.File
	close func() error
}

// confine opens what a path names inside an input, and gives it a place of its own, where no link in it
// is followed.
func (w *worker) confine(ctx context.Context, in *input.Input, file imageref.File) (*confined, error) {
	open, name := in.OpenFile, strings.TrimPrefix(path.Clean("/"+file.Path), "/")
	if name == "" || file.IsDir() {
		open, name = in.OpenDir, cmp.Or(name, ".")
	}
	f, err := open(ctx, name)
	var link *foreign.LinkError
	switch {
	case errors.As(err, &link) || errors.Is(err, foreign.ErrSpecial) || errors.Is(err, unix.EISDIR):
		return nil, fmt.Errorf("%w: %w", errdefs.ErrInvalid, err)
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: it is looked up in the build context: %w", storage.ErrNotFound, err)
	case err != nil:
		return nil, err
	}
	defer f.Close()
	switch {
	case file.IsDir():
		return w.confineDir(f)
	case w.kind == userns.Plain:
		return w.confineCopy(ctx, f)
	}
	m, err := w.bindFixed(f)
	if err != nil {
		return nil, err
	}
	return &confined{m.path, m.root, m.close}, nil
}

// confineCopy copies an archive, which containers/image opens by the path that it finds for it.
func (w *worker) confineCopy(ctx context.Context, archive *os.File) (*confined, error) {
	place, err := os.OpenFile(filepath.Join(w.mnt, fmt.Sprintf("a%d", w.next())), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	c := &confined{place.Name(), place, func() error { return errors.Join(place.Close(), os.Remove(place.Name())) }}
	_, err = io.Copy(place, filecopy.Reader(ctx, archive))
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// layoutDepth is that of a layout's blobs: blobs/sha256/HEX.
const layoutDepth = 3

// confineDir gives a layout a directory of ours in which each file is a link to what is open here. So
// another file that comes into its place meanwhile is not seen, and a link is one to a link, which the kernel does
// not follow.
func (w *worker) confineDir(dir *os.File) (*confined, error) {
	c := &confined{path: filepath.Join(w.mnt, fmt.Sprintf("l%d", w.next()))}
	var held []*os.File
	c.close = func() error {
		for _, f := range held {
			f.Close()
		}
		return os.RemoveAll(c.path)
	}
	err := hold(dir, c.path, layoutDepth, &held)
	if err == nil {
		c.root, err = os.Open(c.path)
	}
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	held = append(held, c.root)
	return c, nil
}

// hold opens what is in a directory, down to a depth, and makes another of links to it.
func hold(dir *os.File, place string, depth int, held *[]*os.File) error {
	if err := os.Mkdir(place, 0o700); err != nil {
		return err
	}
	list, err := os.Open(descriptor(dir)) // which is open as a mere path
	if err != nil {
		return err
	}
	defer list.Close()
	names, err := list.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		fd, err := unix.Openat(int(dir.Fd()), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOENT) {
			continue // removed meanwhile
		}
		if err != nil {
			return &fs.PathError{Op: "open", Path: name, Err: err}
		}
		f := os.NewFile(uintptr(fd), name)
		*held = append(*held, f)
		info, err := f.Stat()
		switch {
		case err != nil:
		case !info.IsDir():
			err = os.Symlink(descriptor(f), filepath.Join(place, name))
		case depth > 1:
			err = hold(f, filepath.Join(place, name), depth-1, held)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// descriptor is a path of what is open.
func descriptor(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }
