//go:build linux

package tree

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/mountpoint"
	"github.com/oakum-build/oakum/builder/internal/workspace"
	"github.com/oakum-build/oakum/storage/tarfilter"
)

// making is a change of a tree that was taken.
type making struct {
	tree    *tree
	change  workspace.Change
	leftOut tarfilter.LeftOut
	aside   *os.File // see points; nil when nothing is filled
}

// run does what changes the tree.
func (m *making) run(do func() error) error {
	t := m.tree
	if t.list == nil {
		var err error
		if t.list, err = list(t.root); err != nil {
			return fmt.Errorf("listing the files of a workspace: %w", err)
		}
	}
	if err := t.sumUp(); err != nil {
		return fmt.Errorf("reading the files of a workspace: %w", err)
	}
	if err := m.keep(); err != nil {
		return err
	}
	traces, err := m.points()
	if m.aside != nil {
		defer m.aside.Close()
	}
	if err != nil {
		return err
	}
	last := t.list.latest()
	if aside := traces.LastAside(); later(aside, last) {
		last = aside
	}
	if err := settle(t.clock, last); err != nil {
		return err
	}
	if err := do(); err != nil {
		return errors.Join(err, traces.Remove())
	}
	if err := traces.Remove(); err != nil {
		return err
	}
	traces.Untouched(t.root, func(dir *os.File, name, at string) {
		var st unix.Stat_t
		if n := t.list.find(at); n != nil && unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
			t.list.renew(n, &st)
		}
	})
	return nil
}

// renew makes a state that of a file of a list, under all its names.
func (n *node) renew(of *node, st *unix.Stat_t) {
	was := of.state
	of.state = of.now(st)
	if !of.isDir() && was.links > 1 {
		n.replace(map[state]state{was: of.state})
	}
}

// replace replaces states of files.
func (n *node) replace(others map[state]state) {
	if len(others) == 0 {
		return
	}
	for i := range n.files {
		f := &n.files[i]
		if other, ok := others[f.state]; ok {
			f.state = other
		}
		f.replace(others)
	}
}

// now is the state of the same file, whatever has changed.
func (n *node) now(st *unix.Stat_t) state {
	s := stateOf(st)
	s.born = n.born
	return s
}

// keep makes the directories that the layer is to have when none below has them.
func (m *making) keep() error {
	for _, name := range m.change.Kept {
		name = strings.Trim(name, "/")
		if err := unix.Mkdirat(int(m.tree.root.Fd()), name, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
			return &os.PathError{Op: "mkdir", Path: "/" + name, Err: err}
		}
	}
	return nil
}

// points makes the mount points.
func (m *making) points() (*mountpoint.Traces, error) {
	if !m.change.Fill {
		return mountpoint.Make(m.tree.root, m.tree.owners, m.change.Mounts), nil
	}
	name := filepath.Join(m.tree.dir, "aside")
	if err := os.Mkdir(name, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	var err error
	if m.aside, err = os.Open(name); err != nil {
		return nil, err
	}
	traces := mountpoint.Fill(m.tree.root, m.tree.owners, m.aside, m.change.Mounts)
	if err := traces.Err(); err != nil {
		return nil, errors.Join(err, traces.Remove())
	}
	return traces, nil
}

// rootMode is the mode of the root of every image, which belongs to 0:0.
const rootMode = 0o555

// resetRoot gives the root what all roots have.
func resetRoot(t *tree) error {
	return errors.Join(t.owners.Chown(t.root, "", 0, 0), t.owners.Chmod(t.root, "", rootMode))
}

// root undoes what was done to the root itself, of which layers say nothing, and says whether
// something was.
func (m *making) root() (bool, error) {
	t := m.tree
	var st unix.Stat_t
	if err := t.owners.Stat(t.root, "", &st); err != nil {
		return false, err
	}
	changed := st.Uid != 0 || st.Gid != 0 || st.Mode&0o7777 != rootMode
	attrs, err := t.owners.Xattrs(t.root, "", func(attr string) bool { return tarfilter.Keeps(attr) || tarfilter.StoresOwn(attr) })
	if err != nil {
		return changed, err
	}
	for _, attr := range attrs {
		changed = true
		if err := unix.Removexattr(fmt.Sprintf("/proc/self/fd/%d", t.root.Fd()), attr.Name); err != nil {
			return true, &os.PathError{Op: "removexattr " + attr.Name, Path: "/", Err: err}
		}
	}
	if changed {
		err = resetRoot(t)
	}
	return changed, err
}
