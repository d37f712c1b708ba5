// Package foreign opens and reads what others wrote: the Dockerfile and the ignore files
// of a context, archives that a Dockerfile names, /etc/passwd of an image.
//
// Whoever wrote such a file may want oakum to read another one, to wait for ever, or to
// run out of memory. So a file is opened inside the directory that it belongs to, whatever
// links lie on the way; it must be a regular file; opening it does not wait for another
// process; and no more of it is read than a limit, of which package limits has a list and the error.
package foreign

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/oakum-build/oakum/builder/limits"
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
	case errors.Is(e.Err, syscall.EXDEV):
		return fmt.Sprintf("%s is a link to %s, which leads out of the directory that it must stay in", e.Name, e.Target)
	case errors.Is(e.Err, syscall.ELOOP):
		return fmt.Sprintf("%s is a link to %s, which leads in a circle", e.Name, e.Target)
	}
	return fmt.Sprintf("%s is a link to %s, which is not there", e.Name, e.Target)
}

func (e *LinkError) Unwrap() error { return e.Err }

// regular checks that an open file is one.
func regular(f *os.File) error {
	info, err := f.Stat()
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return &fs.PathError{Op: "open", Path: f.Name(), Err: syscall.EISDIR}
	case !info.Mode().IsRegular():
		return &fs.PathError{Op: "open", Path: f.Name(), Err: ErrSpecial}
	}
	return nil
}

// ReadFile reads a whole regular file inside the directory dir, of at most max bytes. A link
// that leads out of dir, as every absolute one does, is an error: a *LinkError of EXDEV. The
// directory need not be one that may be listed.
func ReadFile(dir, name string, max int64) ([]byte, error) {
	f, err := openBeneath(dir, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, name, max)
}

// ReadNamed reads a whole file that the user named, of at most max bytes. It may be
// anywhere, and a pipe or a device; that ctx ends ends the reading.
func ReadNamed(ctx context.Context, path string, max int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if errors.Is(err, syscall.ENXIO) {
		return nil, &fs.PathError{Op: "open", Path: path, Err: ErrSpecial}
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: syscall.EISDIR}
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
		return nil, &limits.LimitError{Name: name, Limit: max, Unit: "bytes"}
	}
	return text, nil
}
