//go:build linux

package workspacetest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/workspace"
)

// step is what is done in a directory.
type step func(dir string) error

// spaces are the workspaces that there are, by their paths.
var spaces sync.Map

// in does steps in a workspace's root.
func in(do ...step) func(workspace.Workspace) error {
	return func(w workspace.Workspace) error {
		spaces.Store(w.Path(), w)
		defer spaces.Delete(w.Path())
		for _, s := range do {
			if err := s(fdPath(w.Root())); err != nil {
				return err
			}
		}
		return nil
	}
}

// owned calls do with the workspace that a file is in, and with its path there. A file that is elsewhere is
// nobody's.
func owned(file string, do func(w workspace.Workspace, at string) error) (err error) {
	spaces.Range(func(root, w any) bool {
		if at, inside := strings.CutPrefix(file+"/", root.(string)+"/"); inside {
			err = do(w.(workspace.Workspace), strings.TrimSuffix(strings.TrimSuffix(at, "/"), "/."))
			return false
		}
		return true
	})
	return err
}

func fdPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// sh is a shell script.
func sh(script string) step {
	return func(dir string) error {
		at, err := os.Open(dir)
		if err != nil {
			return err
		}
		defer at.Close()
		cmd := exec.Command("/bin/sh", "-ec", "cd /proc/self/fd/3/. && exec 3<&-\n"+script)
		cmd.ExtraFiles = []*os.File{at}
		if !allIDs() {
			return shAsOther(cmd, script)
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", script, err, out)
		}
		return nil
	}
}

// noteOwners has a script tell which owners files should have instead of giving them.
const noteOwners = `cd /proc/self/fd/3/. && exec 3<&-
chown() { [ "$1" != -h ] || shift; o=$1; shift; for f; do echo "$o $(pwd -P)/$f" >&9; done; }
`

// shAsOther runs a script as somebody who may not give files other owners: Owners remembers them.
func shAsOther(cmd *exec.Cmd, script string) error {
	if os.Getenv(usernsEnv) == "plain" { // who could not read such a file
		script = strings.ReplaceAll(script, "chmod 0 ", "chmod 711 ")
	}
	told, err := os.CreateTemp("", "owners-")
	if err != nil {
		return err
	}
	defer told.Close()
	os.Remove(told.Name())
	cmd.Args[2] = noteOwners + script
	cmd.ExtraFiles = append(cmd.ExtraFiles, nil, nil, nil, nil, nil, told) // the descriptor 9
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", script, err, out)
	}
	text, err := os.ReadFile(fdPath(told))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		var uid, gid int
		var file string
		if _, err := fmt.Sscanf(line, "%d:%d %s", &uid, &gid, &file); err != nil {
			return fmt.Errorf("%q: %w", line, err)
		}
		err := owned(file, func(w workspace.Workspace, at string) error {
			return w.Owners().Chown(w.Root(), strings.TrimPrefix(at, "."), uid, gid)
		})
		if err != nil && !errors.Is(err, unix.ENOENT) { // as for a file that was removed in the end
			return err
		}
	}
	return nil
}

func xattr(name, attr, value string) step {
	return func(dir string) error {
		err := unix.Lsetxattr(dir+"/"+name, attr, []byte(value), 0)
		if real, found := filepath.EvalSymlinks(dir); errors.Is(err, unix.EPERM) && !allIDs() && found == nil {
			err = owned(real+"/"+name, func(w workspace.Workspace, at string) error {
				return w.Owners().Setxattr(w.Root(), at, attr, []byte(value))
			})
		}
		if err != nil {
			return fmt.Errorf("setxattr %s of %s: %w", attr, name, err)
		}
		return nil
	}
}

func noXattr(name, attr string) step {
	return func(dir string) error {
		if err := unix.Lremovexattr(dir+"/"+name, attr); err != nil {
			return fmt.Errorf("removexattr %s of %s: %w", attr, name, err)
		}
		return nil
	}
}
