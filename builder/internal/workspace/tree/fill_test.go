//go:build linux

package tree

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder/internal/workspace"
)

// points are mount points in a directory, of which the image has each with a file.
func points(t *testing.T, w workspace.Workspace, dir string) (names []string) {
	t.Helper()
	for i := range 20 {
		name := fmt.Sprintf("/%s/%d/", dir, i)
		if err := errors.Join(os.MkdirAll(w.Path()+name, 0o755), os.WriteFile(w.Path()+name+"own", nil, 0o644)); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	return names
}

// A command removes directories around mount points. That leaves nothing behind that is in the way of the step
// after it.
func TestFillAfterRemoval(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	var gone, stay []string
	step := workspace.Change{}
	l, err := d.Make(t.Context(), nil, step, func(w workspace.Workspace) error {
		gone, stay = points(t, w, "gone"), points(t, w, "stay")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	step = workspace.Change{Fill: true, Mounts: gone}
	if l, err = d.Make(t.Context(), l, step, func(w workspace.Workspace) error { return os.RemoveAll(w.Path() + "/gone") }); err != nil {
		t.Fatal(err)
	}
	aside := filepath.Join(d.trees[0].dir, "aside")
	if left, err := os.ReadDir(aside); len(left) > 0 || err != nil {
		t.Errorf("left: %v, %v", left, err)
	}
	step.Mounts = stay
	if l, err = d.Make(t.Context(), l, step, func(workspace.Workspace) error { return nil }); err != nil {
		t.Fatal(err)
	}
	for _, name := range stay {
		if _, err := os.Stat(d.trees[0].path() + name + "own"); err != nil {
			t.Errorf("a file of the image is gone: %v", err)
		}
	}
	if err := l.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, aside) {
			t.Errorf("%s is open", to)
		}
	}
}

// A step whose mount points cannot be cleared fails before its command begins.
func TestFillFails(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	l := write(t, d, nil, "f")
	// No file can be renamed into what is no directory.
	if err := os.WriteFile(filepath.Join(d.trees[0].dir, "aside"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := d.Make(t.Context(), l, workspace.Change{Fill: true, Mounts: []string{"/f"}}, func(workspace.Workspace) error {
		t.Error("the command begins")
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "the mount point /f") {
		t.Errorf("got %v", err)
	}
}
