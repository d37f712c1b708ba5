//go:build linux

package foreign

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const outside = "outside of the root"

// root makes a directory "root" with files beside it.
func root(t testing.TB) (dir string, f *os.File) {
	t.Helper()
	top := t.TempDir()
	dir = filepath.Join(top, "root")
	for name, text := range map[string]string{"auth": outside, "root/f": "inside", "root/d/f": "inside", "root/auth2": "inside"} {
		path := filepath.Join(top, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	f, err := OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return dir, f
}

func TestOpen(t *testing.T) {
	dir, f := root(t)
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
	for name, want := range map[string][2]error{ // of Open and OpenBeneath; nil is "inside"
		"f": {}, "d/f": {}, "in": {}, "up": {}, "out": {unix.ENOENT, unix.EXDEV}, "abs": {unix.ENOENT, unix.EXDEV}, "absin": {nil, unix.EXDEV},
		"none": {unix.ENOENT, unix.ENOENT}, "self": {unix.ELOOP, unix.ELOOP}, "ddir/auth": {unix.ENOENT, unix.EXDEV}, "ddir/f": {nil, unix.EXDEV},
		"../auth": {unix.ENOENT, unix.EXDEV}, "/f": {nil, unix.EXDEV}, "d": {unix.EISDIR, unix.EISDIR}, "pipe": {ErrSpecial, ErrSpecial},
		"f/x": {unix.ENOTDIR, unix.ENOTDIR}, "missing": {fs.ErrNotExist, fs.ErrNotExist}, "magic/etc/passwd": {unix.ENOENT, unix.EXDEV}, "": {unix.ENOENT, unix.ENOENT},
	} {
		for i, open := range []func(*os.File, string) (*os.File, error){Open, OpenBeneath} {
			file, err := open(f, name)
			if want[i] == nil && err == nil {
				text, _ := io.ReadAll(file)
				if string(text) != "inside" {
					t.Errorf("%d %s: read %q", i, name, text)
				}
			} else if want[i] == nil || !errors.Is(err, want[i]) {
				t.Errorf("%d %s: %v, want %v", i, name, err, want[i])
			}
			if file != nil {
				file.Close()
			}
			var link *LinkError
			if _, isLink := os.Readlink(filepath.Join(dir, name)); isLink == nil && err != nil && !errors.As(err, &link) {
				t.Errorf("%d %s: %v does not say that it is a link", i, name, err)
			}
		}
	}
}

func TestReadLimits(t *testing.T) {
	dir, f := root(t)
	var limit *LimitError
	if text, err := ReadFile(f, "f", 6); string(text) != "inside" || err != nil {
		t.Errorf("read %q, %v", text, err)
	}
	if _, err := ReadFile(f, "f", 5); !errors.As(err, &limit) || limit.Name != "f" || limit.Limit != 5 || !errors.Is(err, ErrInvalid) {
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

// FuzzOpen looks for a path, through two links, that leads out of the root, or that is
// waited for.
func FuzzOpen(f *testing.F) {
	f.Add("a", "../auth", "d/f")
	f.Add("a/../../auth", "/", "../..")
	f.Add("a/b/auth", "d/..", "/proc/self/cwd")
	dir, in := root(f)
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
		for _, open := range []func(*os.File, string) (*os.File, error){Open, OpenBeneath} {
			file, err := open(in, name)
			if err != nil {
				if err.Error() == "" {
					t.Error("an error without a text")
				}
				continue
			}
			text, err := readAll(file, name, 1000)
			file.Close()
			if err != nil || string(text) != "inside" {
				t.Errorf("%q with links to %q and %q: read %q, %v", name, first, second, strings.TrimSpace(string(text)), err)
			}
		}
	})
}
