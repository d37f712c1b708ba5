//go:build linux

package filecopy

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// What comes to a place between the removal of what was there and the making of the file is not
// written to, be it a link, what it leads to, or a file.
func TestFilesAreMadeAnew(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"victim": "victim", "there": "there", "f": "evil"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"link": filepath.Join(dir, "victim"), "dangling": filepath.Join(dir, "new")} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	var st unix.Stat_t
	if err := unix.Fstatat(int(root.Fd()), "f", &st, 0); err != nil {
		t.Fatal(err)
	}
	c := &copier{digester: newDigester(t.Context(), &Tree{}), to: Target{Root: root}, links: map[inode]link{}, base: "/"}
	for _, name := range []string{"link", "dangling", "there"} {
		err := c.regular(&Tree{}, &entry{dir: root, name: "f", rel: "f", st: &st}, root, name)
		if !errors.Is(err, unix.EEXIST) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, want := range map[string]string{"victim": "victim", "there": "there"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s is %q, %v", name, got, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(dir, "new")); err == nil {
		t.Error("a dangling link was written through")
	}
}
