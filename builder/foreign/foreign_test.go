package foreign

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/limits"
)

const outside = "outside of the root"

// root makes a directory "root" with files beside it.
func root(t testing.TB) (dir string) {
	t.Helper()
	top := t.TempDir()
	dir = filepath.Join(top, "root")
	for name, text := range map[string]string{"auth": outside, "root/f": "inside", "root/d/f": "inside", "root/auth2": "inside"} {
		path := filepath.Join(top, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// links gives the root all kinds of links, and a pipe.
func links(t testing.TB) (dir string) {
	t.Helper()
	dir = root(t)
	for name, target := range map[string]string{
		"out": "../auth", "abs": filepath.Join(filepath.Dir(dir), "auth"), "absin": "/f", "none": "nowhere", "self": "self", "in": "d/f", "up": "d/../f", "ddir": "..", "magic": "/proc/self/root",
	} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// opened are the names of files in it, and why Open and OpenBeneath do not open them.
var opened = map[string][2]error{ // nil is "inside"
	"f": {}, "d/f": {}, "in": {}, "up": {}, "out": {unix.ENOENT, unix.EXDEV}, "abs": {unix.ENOENT, unix.EXDEV}, "absin": {nil, unix.EXDEV},
	"none": {unix.ENOENT, unix.ENOENT}, "self": {unix.ELOOP, unix.ELOOP}, "ddir/auth": {unix.ENOENT, unix.EXDEV}, "ddir/f": {nil, unix.EXDEV},
	"../auth": {unix.ENOENT, unix.EXDEV}, "/f": {nil, unix.EXDEV}, "d": {unix.EISDIR, unix.EISDIR}, "pipe": {ErrSpecial, ErrSpecial},
	"f/x": {unix.ENOTDIR, unix.ENOTDIR}, "missing": {fs.ErrNotExist, fs.ErrNotExist}, "magic/etc/passwd": {unix.ENOENT, unix.EXDEV}, "": {unix.ENOENT, unix.ENOENT},
}

// check says what is wrong with what was read of a file, or the error instead.
func check(t *testing.T, dir, name string, text []byte, err, want error) {
	t.Helper()
	if want == nil && err == nil {
		if string(text) != "inside" {
			t.Errorf("%s: read %q", name, text)
		}
	} else if want == nil || !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", name, err, want)
	}
	var link *LinkError
	if _, isLink := os.Readlink(filepath.Join(dir, name)); isLink == nil && err != nil && !errors.As(err, &link) {
		t.Errorf("%s: %v does not say that it is a link", name, err)
	}
}

func TestReadFile(t *testing.T) {
	dir := links(t)
	for name, want := range opened {
		text, err := ReadFile(dir, name, 100)
		check(t, dir, name, text, err, want[1])
	}
}

func TestReadLimits(t *testing.T) {
	dir := root(t)
	var limit *limits.LimitError
	if text, err := ReadFile(dir, "f", 6); string(text) != "inside" || err != nil {
		t.Errorf("read %q, %v", text, err)
	}
	if _, err := ReadFile(dir, "f", 5); !errors.As(err, &limit) || limit.Name != "f" || limit.Limit != 5 || !errors.Is(err, limits.ErrInvalid) {
		t.Errorf("beyond the limit: %v", err)
	}
	if _, err := ReadNamed(t.Context(), "/dev/zero", 1000); !errors.As(err, &limit) {
		t.Errorf("what does not end: %v", err)
	}
	if _, err := ReadNamed(t.Context(), dir, 1000); !errors.Is(err, unix.EISDIR) {
		t.Errorf("a directory: %v", err)
	}
	socket := filepath.Join(dir, "socket")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: socket}); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadNamed(t.Context(), socket, 1000); !errors.Is(err, ErrSpecial) {
		t.Errorf("a socket: %v", err)
	}
	never, _ := io.Pipe()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := ReadAll(ctx, never, "stream", 10); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("what never comes: %v", err)
	}
}

// FuzzReadFile looks for a path, through two links, that leads out of the root, or that is
// waited for.
func FuzzReadFile(f *testing.F) {
	f.Add("a", "../auth", "d/f")
	f.Add("a/../../auth", "/", "../..")
	f.Add("a/b/auth", "d/..", "/proc/self/cwd")
	dir := root(f)
	if err := unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, name, first, second string) {
		for link, target := range map[string]string{"a": first, "b": second} {
			path := filepath.Join(dir, link)
			os.Remove(path)
			if err := os.Symlink(target, path); err != nil {
				return
			}
		}
		text, err := ReadFile(dir, name, 1000)
		if err != nil && err.Error() == "" {
			t.Error("an error without a text")
		}
		if err == nil && string(text) != "inside" {
			t.Errorf("%q with links to %q and %q: read %q", name, first, second, text)
		}
	})
}
