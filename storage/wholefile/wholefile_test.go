package wholefile_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/oakum-build/oakum/storage/wholefile"
)

// A file is there when it is whole, and what was there before stays until then; nothing is left beside it.
func TestWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := os.Symlink("file", link); err != nil {
		t.Fatal(err)
	}
	failed := errors.New("failed")
	for _, step := range []struct {
		to, text string
		err      error
		is       string // "" is none
	}{
		{path, "never", failed, ""},
		{path, "one", nil, "one"},
		{path, "never", failed, "one"},
		{path, "two", nil, "two"},
		{link, "three", nil, "three"},
	} {
		err := wholefile.Write(step.to, func(f *os.File) error {
			if _, err := f.WriteString(step.text); err != nil {
				t.Fatal(err)
			}
			return step.err
		})
		if !errors.Is(err, step.err) {
			t.Errorf("%s: %v", step.text, err)
		}
		if got, err := os.ReadFile(path); string(got) != step.is || (err == nil) != (step.is != "") {
			t.Errorf("after %s, %v: %q, %v", step.text, step.err, got, err)
		}
	}
	entries, err := os.ReadDir(dir)
	if names := slices.DeleteFunc(entries, func(e os.DirEntry) bool { return e.Name() == "file" || e.Name() == "link" }); err != nil || len(names) > 0 {
		t.Errorf("left: %v, %v", names, err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode().IsRegular() {
		t.Errorf("the link is %v, %v", info, err)
	}
	if err := wholefile.Write(filepath.Join(dir, "none", "file"), func(*os.File) error { return nil }); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without its directory: %v", err)
	}
}
