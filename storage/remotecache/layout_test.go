package remotecache

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/records/recordstest"
)

// What is no file is refused in the place of every file of a layout, and nobody waits for what others write to it.
func TestLayoutOfOtherThanFiles(t *testing.T) {
	t.Parallel()
	blobName := filepath.Join(blobsDir, recordstest.Digest(1).Encoded())
	for what, make := range map[string]func(path string) error{
		"a pipe":      func(path string) error { return unix.Mkfifo(path, 0o644) },
		"a directory": func(path string) error { return os.Mkdir(path, 0o755) },
		"a device":    func(path string) error { return unix.Mknod(path, unix.S_IFCHR|0o644, 0) }, // of the number of whiteouts, which anybody may make
		"a socket": func(path string) error {
			s, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
			if err == nil {
				s.SetUnlinkOnClose(false)
				err = s.Close()
			}
			return err
		},
		"a link to a pipe": func(path string) error {
			return errors.Join(unix.Mkfifo(filepath.Join(filepath.Dir(path), "pipe"), 0o644), os.Symlink("pipe", path))
		},
	} {
		for file, name := range map[string]string{"index.json": ManifestName, blobName: recordstest.Digest(1).String()} {
			dir, err := os.MkdirTemp("", "l") // the name of a socket has to be short
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			l, err := OpenLayout(dir, "", true)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			_ = os.Remove(filepath.Join(dir, file))
			if err := make(filepath.Join(dir, file)); err != nil {
				t.Fatal(what, err)
			}
			if f, err := l.Get(t.Context(), name); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s as %s: %v, %v", what, file, f, err)
			}
			if has, err := l.Has(t.Context(), name); has || !errors.Is(err, ErrInvalid) {
				t.Errorf("%s as %s is there: %v, %v", what, file, has, err)
			}
			if file != "index.json" {
				continue
			}
			if err := ChangeIndex(l.root, nil); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s as index.json is changed: %v", what, err)
			}
		}
	}
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(pipe, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLayout(pipe, "", false); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("a pipe as the layout: %v", err)
	}
}
