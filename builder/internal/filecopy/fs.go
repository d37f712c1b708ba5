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

	"github.com/oakum-build/oakum/storage/tarfilter"
)

// buffers are large, since each read and write of a file costs a system call.
var buffers = sync.Pool{New: func() any { b := make([]byte, 1<<20); return &b }}

// openIn opens a path inside root as if root were /: links and ".." cannot leave it.
func openIn(root *os.File, name string, flags int) (*os.File, error) {
	if name == "" {
		name = "."
	}
	fd, err := retry(func() (int, error) {
		return unix.Openat2(int(root.Fd()), name, &unix.OpenHow{
			Flags:   uint64(flags | unix.O_CLOEXEC),
			Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
		})
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// retry repeats what openat2 gives up because a rename raced with it.
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

type xattr struct {
	name  string
	value []byte
}

// path gives a path that reaches the entry itself through its open directory.
func (e *entry) path() string {
	if e.name == "" {
		return procPath(e.dir)
	}
	return procPath(e.dir) + "/" + e.name
}

// xattrs reads the attributes that a layer keeps: "user." ones and capabilities.
// Those of storage drivers and of the host's security modules are left out.
func (e *entry) xattrs() ([]xattr, error) {
	if e.attrsRead {
		return e.attrs, nil
	}
	var err error
	e.attrs, err = readXattrs(e)
	e.attrsRead = err == nil
	return e.attrs, err
}

func readXattrs(e *entry) ([]xattr, error) {
	list, get := unix.Llistxattr, unix.Lgetxattr
	if e.name == "" {
		list, get = unix.Listxattr, unix.Getxattr // the path is a descriptor's
	}
	size, err := list(e.path(), nil)
	if err != nil || size == 0 {
		return nil, ignoreUnsupported(e, err)
	}
	names := make([]byte, size+1024)
	if size, err = list(e.path(), names); err != nil {
		return nil, ignoreUnsupported(e, err)
	}
	var out []xattr
	for name := range strings.SplitSeq(strings.TrimRight(string(names[:size]), "\x00"), "\x00") {
		if tarfilter.StoresOwn(name) {
			e.left = append(e.left, name)
		}
		if !tarfilter.Keeps(name) {
			continue
		}
		value := make([]byte, 65536)
		n, err := get(e.path(), name, value)
		if err != nil {
			if errors.Is(err, unix.ENODATA) {
				continue
			}
			return nil, &os.PathError{Op: "getxattr " + name, Path: e.label(), Err: err}
		}
		out = append(out, xattr{name, slices.Clone(value[:n])})
	}
	slices.SortFunc(out, func(a, b xattr) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

func ignoreUnsupported(e *entry, err error) error {
	if err == nil || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM) {
		return nil
	}
	return &os.PathError{Op: "listxattr", Path: e.label(), Err: err}
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
