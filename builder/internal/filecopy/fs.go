//go:build linux

package filecopy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/owners"
	"github.com/oakum-build/oakum/storage/openat2"
	"github.com/oakum-build/oakum/storage/tarfilter"
)

// buffers are large, since each read and write of a file costs a system call.
var buffers = sync.Pool{New: func() any { b := make([]byte, 1<<20); return &b }}

// openIn opens a path inside root as if root were /: links and ".." cannot leave it.
func openIn(root *os.File, name string, flags int) (*os.File, error) {
	if name == "" {
		name = "."
	}
	fd, err := openat2.Open(int(root.Fd()), name, &unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC),
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// retry repeats what a signal has interrupted, or what has to wait until somebody gives a lease back.
func retry(f func() (int, error)) (int, error) {
	for range 64 {
		fd, err := f()
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
	return f()
}

// openChild opens one name in dir without following a link.
func openChild(dir *os.File, name string, flags int) (*os.File, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(int(dir.Fd()), name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

func readNames(dir *os.File) ([]string, error) {
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("reading directory %s: %w", dir.Name(), err)
	}
	slices.Sort(names)
	return names, nil
}

func (e *entry) label() string {
	if e.rel != "" {
		return e.rel
	}
	return e.dir.Name()
}

// open opens a regular file for reading.
func (e *entry) open() (*os.File, error) {
	if e.socket {
		return os.Open(os.DevNull)
	}
	var fd int
	var err error
	if e.name == "" {
		// The descriptor itself, which is only a path, reopened.
		fd, err = unix.Open(procPath(e.dir), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	} else {
		fd, err = retry(func() (int, error) {
			return unix.Openat(int(e.dir.Fd()), e.name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		})
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: e.label(), Err: err}
	}
	return os.NewFile(uintptr(fd), e.label()), nil
}

// Reader reads from r until ctx ends.
func Reader(ctx context.Context, r io.Reader) io.Reader { return reader{ctx, r} }

type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

func procPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

func readlink(e *entry) (string, error) {
	buf := make([]byte, 4097)
	n, err := unix.Readlinkat(int(e.dir.Fd()), e.name, buf)
	if err != nil {
		return "", &os.PathError{Op: "readlink", Path: e.label(), Err: err}
	}
	return string(buf[:n]), nil
}

// ErrOutside says that a file has what is only seen rightly inside of a user namespace: see Tree.Outside.
var ErrOutside = errors.New("the capabilities of a file cannot be read outside of the user namespace in which it would be copied")

// xattrs reads the attributes that a layer keeps: "user." ones and capabilities.
// Those of storage drivers and of the host's security modules are left out.
func (e *entry) xattrs(src *Tree) ([]owners.Xattr, error) {
	if e.attrsRead {
		return e.attrs, nil
	}
	var err error
	e.attrs, err = src.Owners.Xattrs(e.dir, e.name, func(attr string) bool {
		if tarfilter.StoresOwn(attr) {
			e.left = append(e.left, attr)
		}
		return tarfilter.Keeps(attr)
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.label(), err)
	}
	if src.Outside && slices.ContainsFunc(e.attrs, func(a owners.Xattr) bool { return strings.HasPrefix(a.Name, "security.") }) {
		return nil, ErrOutside
	}
	e.attrsRead = true
	return e.attrs, nil
}

// IsDir says whether name is a directory inside root, through links.
func IsDir(root *os.File, name string) (bool, error) {
	f, err := openIn(root, name, unix.O_PATH|unix.O_DIRECTORY)
	switch {
	case err == nil:
		return true, f.Close()
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return false, nil
	}
	return false, &os.PathError{Op: "open", Path: name, Err: err}
}

// OpenShown opens, as a mere path, the directory or regular file that name leads to inside root, as
// if root were /. Messages have another name for it, label.
func OpenShown(root *os.File, name, label string) (*os.File, error) {
	f, err := openIn(root, name, unix.O_PATH)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return nil, &NotFoundError{Path: label, Why: "no such file or directory"}
	case errors.Is(err, unix.ELOOP):
		return nil, &NotFoundError{Path: label, Why: "its links lead in a circle, or are too many"}
	case err != nil:
		return nil, &os.PathError{Op: "open", Path: label, Err: err}
	}
	info, err := f.Stat()
	if err == nil && !info.IsDir() && !info.Mode().IsRegular() {
		err = &InvalidError{fmt.Sprintf("%s is neither a directory nor a regular file", label)}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
