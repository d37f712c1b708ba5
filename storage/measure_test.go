//go:build linux

package storage

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// atEach is a context that is asked before each directory is opened, and calls a function then.
type atEach struct {
	context.Context
	call func()
}

func (c atEach) Err() error {
	c.call()
	return c.Context.Err()
}

// nested makes directories below one another, of which each has two more beside the next.
func nested(t *testing.T, depth int) (top string) {
	t.Helper()
	top = filepath.Join(t.TempDir(), "top")
	at := top
	for range depth {
		for _, name := range []string{"a", "b", "c"} {
			if err := os.MkdirAll(filepath.Join(at, name), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		at = filepath.Join(at, "b")
	}
	return top
}

func openedBelow(t *testing.T, dir string) (n int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if path, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && (path == dir || strings.HasPrefix(path, dir+"/")) {
			n++
		}
	}
	return n
}

// measuredBelow measures a tree, calls a function before each directory, and sees that none is left open.
func measuredBelow(t *testing.T, top string, call func()) int64 {
	t.Helper()
	root, err := os.Open(filepath.Dir(top))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	m, err := measure(atEach{t.Context(), call}, root)
	if err != nil {
		t.Fatal(err)
	}
	got, err := m.tree(root, filepath.Base(top))
	if err != nil {
		t.Error(err)
	}
	if left := openedBelow(t, top); left != 0 {
		t.Errorf("%d directories are still open", left)
	}
	return got.disk
}

// Few directories are open at once, and all are measured all the same.
func TestMeasureDeep(t *testing.T) {
	t.Parallel()
	top := nested(t, 5*mostOpen)
	most := 0
	got := measuredBelow(t, top, func() { most = max(most, openedBelow(t, top)) })
	if want := onDisk(t, top); got != want {
		t.Errorf("measured %d bytes; du says %d", got, want)
	}
	if most != mostOpen+1 && most != mostOpen {
		t.Errorf("%d directories were open at once, want %d", most, mostOpen)
	}
}

// A tree may go while it is measured, as those of a prune do, at any moment.
func TestMeasureWhileRemoved(t *testing.T) {
	t.Parallel()
	for _, after := range []int{1, mostOpen, mostOpen + 1, 3 * mostOpen, 6*mostOpen + 1, 10 * mostOpen} {
		t.Run(strconv.Itoa(after), func(t *testing.T) {
			top := nested(t, 5*mostOpen)
			calls := 0
			measuredBelow(t, top, func() {
				if calls++; calls == after {
					if err := os.RemoveAll(top); err != nil {
						t.Error(err)
					}
				}
			})
			if calls < after {
				t.Errorf("only %d directories were entered", calls)
			}
		})
	}
}
