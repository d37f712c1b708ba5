//go:build linux

// Package foreign opens and reads what others wrote: the Dockerfile and the ignore files
// of a context, archives that a Dockerfile names, /etc/passwd of an image.
//
// Whoever wrote such a file may want oakum to read another one, to wait for ever, or to
// run out of memory. So a file is opened inside the directory that it belongs to, whatever
// links lie on the way; it must be a regular file; opening it does not wait for another
// process; and no more of it is read than a limit, which the error then names.
package foreign

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// ErrSpecial says that a file is a pipe, a device or a socket.
var ErrSpecial = errors.New("it is not a regular file")

// LinkError says that a file is a link to what is not there, or not to be read. It
// unwraps to ENOENT, EXDEV or ELOOP.
type LinkError struct {
	Name, Target string
	Err          error
}

func (e *LinkError) Error() string {
	switch {
	case errors.Is(e.Err, unix.EXDEV):
		return fmt.Sprintf("%s is a link to %s, which leads out of the directory that it must stay in", e.Name, e.Target)
	case errors.Is(e.Err, unix.ELOOP):
		return fmt.Sprintf("%s is a link to %s, which leads in a circle", e.Name, e.Target)
	}
	return fmt.Sprintf("%s is a link to %s, which is not there", e.Name, e.Target)
}

func (e *LinkError) Unwrap() error { return e.Err }

// OpenDir opens a directory to look files up in it, which needs no permission to list it.
func OpenDir(path string) (*os.File, error) {
	return os.OpenFile(path, unix.O_PATH|unix.O_DIRECTORY, 0)
}

// OpenDirIn opens a directory inside root, as Open does files.
func OpenDirIn(root *os.File, name string) (*os.File, error) {
	const resolve = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS
	fd, err := openat2(root, name, unix.O_PATH|unix.O_DIRECTORY, resolve)
	if err != nil {
		return nil, explain(root, name, resolve, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// Open opens a regular file inside root as if root were /: links, absolute ones too, and
// ".." lead to what is inside. The error is a *fs.PathError, whose cause is ErrSpecial,
// EISDIR or of the system, or a *LinkError.
func Open(root *os.File, name string) (*os.File, error) {
	return open(root, name, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
}

// OpenBeneath is Open, but that a link that leads out of root, as every absolute one does,
// is an error (EXDEV).
func OpenBeneath(root *os.File, name string) (*os.File, error) {
	return open(root, name, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_MAGICLINKS)
}

func open(root *os.File, name string, resolve uint64) (*os.File, error) {
	fd, err := openat2(root, name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, resolve)
	if err != nil {
		return nil, explain(root, name, resolve, err)
	}
	f := os.NewFile(uintptr(fd), name)
	if err := regular(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// regular checks that an open file is one.
func regular(f *os.File) error {
	info, err := f.Stat()
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return &fs.PathError{Op: "open", Path: f.Name(), Err: unix.EISDIR}
	case !info.Mode().IsRegular():
		return &fs.PathError{Op: "open", Path: f.Name(), Err: ErrSpecial}
	}
	return nil
}

// openat2 repeats what the kernel gives up because a rename raced with it.
func openat2(root *os.File, name string, flags int, resolve uint64) (fd int, err error) {
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: resolve}
	for range 64 {
		fd, err = unix.Openat2(int(root.Fd()), name, &how)
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			break
		}
	}
	return fd, err
}

// explain finds the link that made opening a file fail, if one did.
func explain(root *os.File, name string, resolve uint64, err error) error {
	fault := &fs.PathError{Op: "open", Path: name, Err: err}
	switch {
	case errors.Is(err, unix.ENXIO): // a socket, or a pipe
		fault.Err = ErrSpecial
		return fault
	case !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EXDEV) && !errors.Is(err, unix.ELOOP):
		return fault
	}
	fd, linkErr := openat2(root, name, unix.O_PATH|unix.O_NOFOLLOW, resolve)
	if linkErr != nil {
		if errors.Is(err, unix.EXDEV) {
			fault.Err = fmt.Errorf("it leads out of the directory that it must stay in (%w)", err)
		}
		return fault
	}
	defer unix.Close(fd)
	target := make([]byte, unix.PathMax)
	n, linkErr := unix.Readlinkat(fd, "", target)
	if linkErr != nil {
		return fault
	}
	return &LinkError{Name: name, Target: string(target[:n]), Err: err}
}

// ReadFile reads a whole file as OpenBeneath opens it, of at most max bytes.
func ReadFile(root *os.File, name string, max int64) ([]byte, error) {
	f, err := OpenBeneath(root, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, name, max)
}

// ReadNamed reads a whole file that the user named, of at most max bytes. It may be
// anywhere, and a pipe or a device; that ctx ends ends the reading.
func ReadNamed(ctx context.Context, path string, max int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if errors.Is(err, unix.ENXIO) {
		return nil, &fs.PathError{Op: "open", Path: path, Err: ErrSpecial}
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: unix.EISDIR}
	}
	return ReadAll(ctx, f, path, max)
}

// ReadAll reads a stream to its end, of at most max bytes. When ctx ends it returns, and
// leaves behind a Read that does not.
func ReadAll(ctx context.Context, r io.Reader, name string, max int64) ([]byte, error) {
	return Await(ctx, func() ([]byte, error) { return readAll(r, name, max) })
}

// Await gives what f gives, or the error of a context that ends before; f is left behind
// then.
func Await[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := f()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

func readAll(r io.Reader, name string, max int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, max+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > max {
		return nil, &LimitError{Name: name, Limit: max, Unit: "bytes"}
	}
	return text, nil
}
