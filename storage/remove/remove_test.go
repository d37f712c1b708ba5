//go:build linux

package remove_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/hack/deeptree"
	"github.com/oakum-build/oakum/storage/remove"
)

// levels are deeper than the tree is entered at once.
const levels = 40

// A tree may have names like those that the removal gives, many entries, files that may
// not be read, entered or changed, and names that are no text.
func TestPath(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	tree := filepath.Join(top, "tree")
	deep := filepath.Join(tree, strings.Repeat("d/", levels))
	if err := os.MkdirAll(deep+"/a/b/c", 0o755); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(top, "outside")
	if err := errors.Join(
		os.WriteFile(outside, []byte("x"), 0o600), os.Symlink(outside, filepath.Join(tree, "link")), os.Symlink("..", filepath.Join(tree, "up")),
		os.Mkdir(filepath.Join(tree, fmt.Sprintf(".deep-%d-1", os.Getpid())), 0o755), unix.Mkfifo(filepath.Join(tree, "fifo"), 0),
		os.WriteFile(filepath.Join(tree, "\xff\n"), nil, 0), os.Chmod(deep, 0), os.Mkdir(filepath.Join(tree, "many"), 0o755),
	); err != nil {
		t.Fatal(err)
	}
	for i := range 3000 {
		if err := os.WriteFile(filepath.Join(tree, "many", fmt.Sprint(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	flag(t, filepath.Join(tree, "many"), 0x10)
	for range 2 {
		if err := remove.Path(tree); err != nil {
			t.Error(err)
		}
	}
	if left, err := os.ReadDir(top); err != nil || len(left) != 1 || left[0].Name() != "outside" {
		t.Errorf("left: %v, %v", left, err)
	}
	if err := remove.Path(outside); err != nil {
		t.Error(err)
	}
}

// flag sets flags of a directory and tells whether it has them. Root of a user namespace may not; root
// may, unless the file system has no such flags.
func flag(t *testing.T, dir string, flags int) bool {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags) == nil
}

// Closed directories of a user's own are removed at every depth; the directory that they are in, and what has flags
// that keep it, stay as they are.
func TestTree(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	var dirs []string
	for i := range levels {
		dirs = append(dirs, filepath.Join(top, "tree", strings.Repeat("d/", i)))
	}
	if err := os.MkdirAll(dirs[len(dirs)-1]+"/e", 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range dirs {
		if err := os.Chmod(dirs[len(dirs)-1-i], 0o555); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.Open(top)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := os.Mkdir(filepath.Join(top, "kept"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(top, "kept", "f"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if flag(t, filepath.Join(top, "kept"), 0x10) {
		if err := remove.Tree(dir, "kept"); !errors.Is(err, unix.EPERM) {
			t.Errorf("what may not be changed: %v", err)
		}
		flag(t, filepath.Join(top, "kept"), 0)
	}
	if err := dir.Chmod(0o555); err != nil {
		t.Fatal(err)
	}
	if err := remove.Tree(dir, "tree"); os.Geteuid() != 0 && !errors.Is(err, unix.EACCES) {
		t.Errorf("in a directory that may not be written: %v", err)
	}
	if info, err := dir.Stat(); err != nil || info.Mode().Perm() != 0o555 {
		t.Errorf("the directory itself is %v, %v", info.Mode(), err)
	}
	if err := dir.Chmod(0o755); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := remove.Tree(dir, "tree"); err != nil {
			t.Error(err)
		}
	}
	if left, err := os.ReadDir(top); err != nil || len(left) != 1 || left[0].Name() != "kept" {
		t.Errorf("left: %v, %v", left, err)
	}
}

// A tree is removed whose depth is that of more open files than a process may have.
func TestFewFiles(t *testing.T) {
	t.Parallel()
	deeptree.WithFewFiles(t, func(top string) {
		name := deeptree.Make(t, top)
		dir, err := os.Open(top)
		if err != nil {
			t.Fatal(err)
		}
		if err := remove.Tree(dir, name); err != nil {
			t.Error(err)
		}
		if left, err := os.ReadDir(top); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	})
}
