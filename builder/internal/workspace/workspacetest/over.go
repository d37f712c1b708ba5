//go:build linux

package workspacetest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/workspace"
)

// over shows a directory such that it can be changed, and throws the changes away: of a layer that is
// read, and of any other.
func over(t *testing.T, open Implementation) {
	m := start(t, open)
	const files = "mkdir -p d/sub e; echo old >d/f; echo gone >d/gone; ln -s /d/f l; chown 5:6 d; chmod 2751 d; ln -s ../../../.. e/out"
	below := m.make(t, nil, workspace.Change{}, sh(files), old)
	view, err := m.View(below)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := view.Close(); err != nil {
			t.Error(err)
		}
	}()
	plain, remove, err := m.store.ScratchDir("plain-")
	if err := errors.Join(err, sh(files)(plain), os.Chmod(plain, 0o711)); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := remove(); err != nil {
			t.Error(err)
		}
	}()
	for name, of := range map[string]string{
		"a part of a layer": fmt.Sprintf("/proc/self/fd/%d/d", view.Root().Fd()), "a layer": fmt.Sprintf("/proc/self/fd/%d/.", view.Root().Fd()),
		"a directory": plain, "a part of a directory": filepath.Join(plain, "d"),
	} {
		dir, err := os.OpenFile(of, unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			t.Fatal(err)
		}
		was := look(t, dir)
		root, release, err := m.Over(dir, []string{"/points/a/", "/points/f", "/sub/p/", "/e/out/outside", "/d/"})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		at := fmt.Sprintf("/proc/self/fd/%d", root.Fd())
		if got := stat(t, at+"/."); got != stat(t, of) {
			t.Errorf("%s: it is %s itself, want %s", name, got, stat(t, of))
		}
		err = sh("test -d points/a -a -f points/f -a -d d && (test -f outside || test -f e/out/outside) && find . >/dev/null && rm -r * && echo new >f && mkdir sub && echo x >sub/x && mknod none p")(at)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := release(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if now := look(t, dir); now != was {
			t.Errorf("%s: it is\n%s, was\n%s", name, now, was)
		}
		dir.Close()
	}
}

// look lists the files of a directory with what they hold.
func look(t *testing.T, dir *os.File) string {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", `find . -printf '%p %M %U:%G %T@ %l\n' | sort; find . -type f -exec cat {} +`)
	cmd.Dir = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), dir.Fd())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

func stat(t *testing.T, path string) string {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%o %d:%d", st.Mode, st.Uid, st.Gid)
}
