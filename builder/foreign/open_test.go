//go:build linux

package foreign

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOpen(t *testing.T) {
	dir := links(t)
	f, err := OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, want := range opened {
		for i, open := range []func(*os.File, string) (*os.File, error){Open, OpenBeneath} {
			var text []byte
			file, err := open(f, name)
			if err == nil {
				text, _ = io.ReadAll(file)
				file.Close()
			}
			check(t, dir, name, text, err, want[i])
		}
	}
}

// FuzzOpen looks for a path, through two links, that leads out of the root, or that is
// waited for.
func FuzzOpen(f *testing.F) {
	f.Add("a", "../auth", "d/f")
	f.Add("a/../../auth", "/", "../..")
	f.Add("a/b/auth", "d/..", "/proc/self/cwd")
	dir := root(f)
	in, err := OpenDir(dir)
	if err != nil {
		f.Fatal(err)
	}
	defer in.Close()
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
