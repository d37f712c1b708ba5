//go:build linux

package wholefile_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/wholefile"
	"github.com/oakum-build/oakum/storage/wholefile/wholefiletest"
)

// What takes the place of another is on the disk before, or that stays. What is new, or can be made anew, waits for no disk.
func TestSynced(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	dir, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	write := func(text string) error {
		return wholefile.Write(path, func(f *os.File) error { _, err := f.WriteString(text); return err })
	}
	in := func(how func(*os.Root, string, []byte, os.FileMode) error) func(string) error {
		return func(text string) error { return how(dir, "file", []byte(text), 0o600) }
	}
	for _, c := range []struct {
		name  string
		write func(text string) error
		is    string
	}{
		{"Write to a new one", write, "new"},
		{"Write", write, "old"},
		{"In", in(wholefile.In), "new"},
		{"InSynced", in(wholefile.InSynced), "old"},
	} {
		if c.name != "Write to a new one" {
			if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var err error
		wholefiletest.WithoutSync(t, func() { err = c.write("new") })
		if fails := c.is == "old"; fails != errors.Is(err, unix.EIO) || !fails && err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if text, err := os.ReadFile(path); err != nil || string(text) != c.is {
			t.Errorf("%s: %q, %v", c.name, text, err)
		}
		if err := c.write("later"); err != nil {
			t.Errorf("%s where files can be synced: %v", c.name, err)
		}
		if all, err := os.ReadDir(dir.Name()); err != nil || len(all) != 1 {
			t.Errorf("%s: left %v, %v", c.name, all, err)
		}
	}
}
