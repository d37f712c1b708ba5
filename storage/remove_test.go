//go:build linux

package storage

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// deepEnv makes the test process one that may have few files open, and says where to work.
const deepEnv = "OAKUM_TEST_DEEP"

// deepen makes a tree that is deeper than a process may have files open, with paths that
// are longer than a call takes, and gives its depth.
func deepen(t testing.TB, dir string) {
	t.Helper()
	at, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 250 {
		name := fmt.Sprintf("%d%s", i, strings.Repeat("n", 50))
		if err := unix.Mkdirat(int(at.Fd()), name, 0o755); err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Openat(int(at.Fd()), name, unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			t.Fatal(err)
		}
		at.Close()
		at = os.NewFile(uintptr(fd), name)
		file, err := unix.Openat(fd, "file", unix.O_CREAT|unix.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(file)
	}
	at.Close()
}

// Whatever a step makes can be removed: when it fails, when its layer is removed or pruned,
// and by the next process when this one was killed.
func TestDeepTrees(t *testing.T) {
	if root := os.Getenv(deepEnv); root != "" {
		withFewFiles(t, root)
		return
	}
	t.Parallel()
	cmd := exec.Command("sh", "-c", `ulimit -n 128 && exec "$0" -test.run '^TestDeepTrees$' -test.v`, "/proc/self/exe")
	if exe, err := os.Executable(); err == nil {
		cmd.Args[len(cmd.Args)-1] = exe
	}
	cmd.Env = append(os.Environ(), deepEnv+"="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("%v\n%s", err, out)
	}
}

func withFewFiles(t *testing.T, root string) {
	s := openIn(t, root)
	failed := errors.New("failed")
	if _, err := s.MakeLayer(t.Context(), nil, func(st Staging) error { deepen(t, st.Upper); return failed }); !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
	scratch, err := s.Scratch()
	if err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	// Layers of build steps, of an image and not.
	for _, named := range []bool{true, false} {
		l := layer(t, s, nil, "file", "")
		deepen(t, l.path)
		if named {
			commit(t, s, l, "app")
			_, _, err = s.Remove("app", false, false)
		} else {
			_, err = s.Prune()
		}
		if err != nil {
			t.Error(err)
		}
	}
	// What a killed process left: of a step, and of a layer that was just being removed.
	temp := s.temp.Name()
	dead, deleted := filepath.Join(temp, "0123456789abcdef"), filepath.Join(filepath.Dir(temp), "temp-dir-1")
	for _, dir := range []string{dead, filepath.Join(temp, "without a lock"), deleted} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		deepen(t, dir)
	}
	for _, file := range []string{dead + ".lock", filepath.Join(filepath.Dir(temp), "lock-1")} {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	s.cs.Free()
	s = openIn(t, root)
	if ids := layerIDs(t, s); len(ids) > 0 {
		t.Errorf("left: %v", ids)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	found, err := filepath.Glob(filepath.Join(root, "overlay", "*"))
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob(filepath.Join(root, "overlay/tempdirs", "*"))
	if err != nil {
		t.Fatal(err)
	}
	inside, err := os.ReadDir(temp)
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 3 || len(more) != 1 || len(inside) > 0 { // a mark, l and tempdirs; oakum
		t.Errorf("left: %v, %v, %v", found, more, inside)
	}
}

// A tree may have names like those that the removal gives, many entries, files that may
// not be read, entered or changed, and names that are no text.
func TestRemoveTree(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	tree := filepath.Join(top, "tree")
	deep := filepath.Join(tree, strings.Repeat("d/", maxDepth+3))
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
	f, err := os.Open(filepath.Join(tree, "many"))
	if err != nil {
		t.Fatal(err)
	}
	// Root of a user namespace may not; root may, unless the file system has no such flags.
	_ = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, 0x10)
	f.Close()
	for range 2 {
		if err := removePath(tree); err != nil {
			t.Error(err)
		}
	}
	if left, err := os.ReadDir(top); err != nil || len(left) != 1 || left[0].Name() != "outside" {
		t.Errorf("left: %v, %v", left, err)
	}
	if err := removePath(outside); err != nil {
		t.Error(err)
	}
}
