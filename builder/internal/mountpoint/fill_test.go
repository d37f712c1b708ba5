//go:build linux

package mountpoint

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

func ok(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func open(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := os.Open(name)
	ok(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// image is a root with a file in each of some directories.
func image(t *testing.T, dirs ...string) *os.File {
	t.Helper()
	root := t.TempDir()
	for _, dir := range dirs {
		name := filepath.Join(root, dir)
		ok(t, os.MkdirAll(name, 0o755), os.WriteFile(filepath.Join(name, "own"), []byte(dir), 0o644))
	}
	return open(t, root)
}

// has fails unless directories have their files.
func has(t *testing.T, root *os.File, dirs ...string) {
	t.Helper()
	for _, dir := range dirs {
		got, err := os.ReadFile(filepath.Join(root.Name(), dir, "own"))
		if err != nil || string(got) != dir {
			t.Errorf("%s/own has %q, %v", dir, got, err)
		}
	}
}

// What cannot be set aside is left where it is, and the reason is told.
func TestFillFails(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "aside")
	ok(t, os.WriteFile(name, nil, 0o600)) // no directory: the rename fails
	root := image(t, "a/first", "a/second")
	traces := Fill(root, nil, open(t, name), []string{"/a/first/", "/a/second/", "/none/new/"})
	if err := traces.Err(); err == nil {
		t.Error("nothing is said")
	}
	ok(t, traces.Remove())
	has(t, root, "a/first", "a/second")
	if _, err := os.Stat(root.Name() + "/none"); err == nil {
		t.Error("a directory that was made is left")
	}
}

// What was set aside before the one that cannot be is back.
func TestFillFailsLater(t *testing.T) {
	t.Parallel()
	root, aside := image(t, "a", "b"), open(t, t.TempDir())
	traces := Fill(root, nil, aside, []string{"/a/"})
	ok(t, traces.Err())
	late := &filled{}
	if err := late.clear(int(root.Fd()), "b/.", aside); err == nil {
		t.Error("nothing is said") // "." cannot be renamed
	}
	ok(t, late.restore("b", aside), traces.Remove())
	has(t, root, "a", "b")
}

// What a command leaves no place to be put back to is removed, and what others leave is in nobody's way.
func TestFillAgain(t *testing.T) {
	t.Parallel()
	root, aside := image(t, "gone/a", "gone/b", "stays/c"), open(t, t.TempDir())
	for fd := range 100 { // what others have left there, by whichever name a descriptor could give
		ok(t, unix.Mkdirat(int(aside.Fd()), strconv.Itoa(fd), 0o700))
	}
	traces := Fill(root, nil, aside, []string{"/gone/a/", "/gone/b/"})
	ok(t, traces.Err(), os.RemoveAll(root.Name()+"/gone"), traces.Remove())
	if names, err := os.ReadDir(aside.Name()); len(names) > 0 || err != nil {
		t.Errorf("left: %v, %v", names, err)
	}
	traces = Fill(root, nil, aside, []string{"/stays/c/"})
	ok(t, traces.Err(), os.WriteFile(root.Name()+"/stays/c/other", nil, 0o600), traces.Remove())
	has(t, root, "stays/c")
	if _, err := os.Stat(root.Name() + "/stays/c/other"); err == nil {
		t.Error("what was put there is left")
	}
}
