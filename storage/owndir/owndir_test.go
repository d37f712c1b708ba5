//go:build linux

package owndir

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What a killed process left in TMPDIR goes when the next one uses it. What others have, or have named in another way, stays.
func TestDir(t *testing.T) {
	t.Parallel()
	in := t.TempDir()
	open := func() *Dir {
		t.Helper()
		parent, err := os.Open(in)
		if err != nil {
			t.Fatal(err)
		}
		o, err := In(parent, "oakum-x-")
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	live, dead := open(), open()
	if err := os.WriteFile(filepath.Join(dead.Path(), "big"), []byte("big"), 0o400); err != nil {
		t.Fatal(err)
	}
	if err := unlock(dead.dir); err != nil {
		t.Fatal(err)
	}
	link := "oakum-x-" + strings.Repeat("L", 26)
	if err := os.Symlink(live.Path(), filepath.Join(in, link)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"oakum-x-work", "oakum-y-" + strings.Repeat("A", 26)} {
		if err := os.Mkdir(filepath.Join(in, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	next := open()
	if _, err := os.Lstat(dead.Path()); !os.IsNotExist(err) {
		t.Errorf("what a killed process left: %v", err)
	}
	for _, o := range []*Dir{live, next} {
		if err := os.WriteFile(filepath.Join(o.Path(), "f"), nil, 0o600); err != nil {
			t.Errorf("what is in use: %v", err)
		}
		if err := o.Remove(); err != nil {
			t.Error(err)
		}
	}
	left, err := filepath.Glob(filepath.Join(in, "*"))
	if err != nil || len(left) != 3 {
		t.Errorf("left: %q, %v", left, err)
	}
}

// A directory that a sweeper has, or has removed, before it was locked is none of this process.
func TestSwept(t *testing.T) {
	t.Parallel()
	parent, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer parent.Close()
	if err := unix.Mkdirat(int(parent.Fd()), "d", 0o700); err != nil {
		t.Fatal(err)
	}
	sweeper, err := lock(parent, "d")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock(parent, "d"); err == nil {
		t.Error("a directory is had twice")
	}
	if err := unlock(sweeper); err != nil {
		t.Fatal(err)
	}
	if mine, err := lock(parent, "d"); err != nil {
		t.Error(err)
	} else if err := unlock(mine); err != nil {
		t.Error(err)
	}
}
