//go:build linux

// Package ownerstest runs tests as those who may not do everything with files.
package ownerstest

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// inside is the variable with the directory for a test that runs as somebody else.
const inside = "OAKUM_OWNERS_TEST"

// ordinary is an ordinary user's id, for when root runs the tests.
const ordinary = 1000

// Kinds runs a test, which calls it first, three times, each with a new directory of its own: as whoever
// runs the tests, as root of a user namespace of one id, and as an ordinary user without any capability.
func Kinds(t *testing.T, test func(t *testing.T, dir string)) {
	if dir := os.Getenv(inside); dir != "" {
		test(t, dir)
		return
	}
	name := t.Name()
	t.Run("as it is", func(t *testing.T) { test(t, t.TempDir()) })
	t.Run("one id", func(t *testing.T) {
		as(t, name, directory(t), &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
		})
	})
	t.Run("ordinary", func(t *testing.T) {
		if os.Geteuid() != 0 {
			as(t, name, directory(t), nil)
			return
		}
		dir := directory(t)
		if err := os.Chown(dir, ordinary, ordinary); err != nil {
			t.Fatal(err)
		}
		as(t, name, dir, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: ordinary, Gid: ordinary}})
	})
}

// directory makes one that others can reach, too.
func directory(t *testing.T) string {
	dir, err := os.MkdirTemp("/tmp", "owners-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Directories may have any mode, which binds who runs the tests.
		err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				err = os.Chmod(name, 0o700)
			}
			return err
		})
		if err := errors.Join(err, os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// as runs the test of a name in another process.
func as(t *testing.T, name, dir string, attr *syscall.SysProcAttr) {
	cmd := exec.Command("/proc/self/exe", "-test.run", "^"+name+"$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"="+dir)
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+name) {
		t.Errorf("%v\n%s", err, out)
	}
}
