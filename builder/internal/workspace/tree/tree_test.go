//go:build linux

package tree

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/workspace"
	"github.com/oakum-build/oakum/builder/internal/workspace/workspacetest"
	"github.com/oakum-build/oakum/storage"
)

func TestMain(m *testing.M) { workspacetest.Main(m, os.Exit) }

func TestWorkspace(t *testing.T) {
	workspacetest.Run(t, implementation)
}

func TestWorkspaceAsOthers(t *testing.T) { workspacetest.AsOthers(t) }

var implementation = workspacetest.Implementation{Store: storage.DriverTree, Fills: true, New: func(store *storage.Store, _ string, _ bool) workspace.Driver {
	return New(store)
}}

func newDriver(t *testing.T) *Driver {
	d, _ := workspacetest.Open(t, implementation)
	return d.(*Driver)
}

// write makes a layer of files with a text each.
func write(t *testing.T, d *Driver, below *storage.Layer, names ...string) *storage.Layer {
	t.Helper()
	l, err := d.Make(t.Context(), below, workspace.Change{}, func(w workspace.Workspace) (err error) {
		for _, name := range names {
			err = errors.Join(err, os.WriteFile(filepath.Join(w.Path(), name), []byte(name), 0o644))
		}
		return err
	})
	if err == nil {
		err = l.Wait(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Nothing is changed before the file system's time is another than that of the last change.
func TestSettle(t *testing.T) {
	t.Parallel()
	clock, err := os.Create(t.TempDir() + "/clock")
	if err != nil {
		t.Fatal(err)
	}
	defer clock.Close()
	for wait, tooLong := range map[time.Duration]bool{0: false, 50 * time.Millisecond: false, time.Hour: true} {
		last := unix.NsecToTimespec(time.Now().Add(wait).UnixNano())
		if err := settle(clock, last); err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := errors.Join(clock.Chmod(0o644), unix.Fstat(int(clock.Fd()), &st)); err != nil {
			t.Fatal(err)
		}
		if later(st.Ctim, last) == tooLong {
			t.Errorf("after %v it is %v, and the last change was at %v", wait, st.Ctim, last)
		}
	}
}

// A change directly after a file was listed is seen, though it leaves the file's size and times as they
// were: the time of its last change is another.
func TestChangesAtOnce(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	l := write(t, d, nil, "f")
	for i := range 50 {
		text := fmt.Appendf(nil, "%d", i%10)
		changed, err := d.Make(t.Context(), l, workspace.Change{}, func(w workspace.Workspace) error {
			f, err := os.OpenFile(w.Path()+"/f", os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.Write(text)
			old := []unix.Timespec{{Sec: 1}, {Sec: 1}}
			return errors.Join(err, f.Close(), unix.UtimesNanoAt(unix.AT_FDCWD, w.Path()+"/f", old, 0))
		})
		if err != nil {
			t.Fatal(err)
		}
		if l = changed; l.Wait(t.Context()) != nil {
			t.Fatal(l.Wait(t.Context()))
		}
		other := New(d.store)
		v, err := other.View(l)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(v.(*view).tree.path() + "/f")
		if err := errors.Join(err, v.Close(), other.Close()); err != nil || string(got) != string(text) {
			t.Fatalf("change %d: the layer has %q, %v", i, got, err)
		}
	}
}

// A tree is handed from step to step, and shared by those who read it.
func TestTreesAreUsedAgain(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	l := write(t, d, nil, "a")
	first := d.trees[0]
	for i := range 3 {
		l = write(t, d, l, fmt.Sprint(i))
	}
	if len(d.trees) != 1 || d.trees[0] != first {
		t.Errorf("there are %d trees", len(d.trees))
	}
	one, err1 := d.View(l)
	two, err2 := d.View(l)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if one.(*view).tree != first || two.(*view).tree != first {
		t.Error("they do not read the tree that is there")
	}
	// While it is read, it is not changed.
	fork := write(t, d, l, "fork")
	if _, err := os.Stat(filepath.Join(first.path(), "fork")); err == nil {
		t.Error("what is read is changed")
	}
	if err := errors.Join(one.Close(), two.Close()); err != nil {
		t.Error(err)
	}
	if len(d.trees) != 2 {
		t.Errorf("there are %d trees", len(d.trees))
	}
	// Of two trees, the one is taken that has more of the layer.
	next := write(t, d, fork, "next")
	if first.layer != l || next.Parent() != fork {
		t.Error("another tree was changed")
	}
}

// Those who want to read the same layer at once make one tree of it.
func TestOneTreeForAllReaders(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	l := write(t, d, write(t, d, nil, "a"), "b")
	other := New(d.store)
	var group sync.WaitGroup
	views := make([]workspace.View, 8)
	for i := range views {
		group.Go(func() {
			var err error
			if views[i], err = other.View(l); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if len(other.trees) != 1 {
		t.Errorf("there are %d trees", len(other.trees))
	}
	var err error
	for _, v := range views {
		err = errors.Join(err, v.Close())
	}
	if err := errors.Join(err, other.Close()); err != nil {
		t.Error(err)
	}
}

// Trees that nobody uses are few, and gone once the driver is closed.
func TestIdleTrees(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	for i := range maxIdle + 3 {
		write(t, d, nil, fmt.Sprint(i))
	}
	if len(d.trees) != maxIdle {
		t.Errorf("there are %d trees", len(d.trees))
	}
	last := d.trees[maxIdle-1]
	if _, err := os.Stat(fmt.Sprintf("%s/%d", last.path(), maxIdle+2)); err != nil {
		t.Errorf("not the last ones are kept: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	scratch, err := d.store.Scratch()
	if err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(scratch + "/tree-*"); len(left) > 0 || err != nil {
		t.Errorf("left: %q, %v", left, err)
	}
}
