//go:build linux

package overlay

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Spare directories go below all layers: an empty one, where overlay wants one more, and
// stubs, which have the mount points that an image may lack, so that only those that it hides need
// be made in the layer itself, and taken out of it again (see package mountpoint). They are on the file system of the layers, for else all files would seem to
// be on another one than their directories.

// empty is an empty directory.
func (d *Driver) empty() (*os.File, error) { return d.spareDir(nil) }

// under is what goes below all layers where a sandbox will mount, or else when there are
// none: an overlay has a lower directory at least.
func (d *Driver) under(points []string) ([]*os.File, error) {
	if len(points) == 0 {
		return nil, nil
	}
	stub, err := d.spareDir(points)
	return []*os.File{stub}, err
}

// spareDir is the directory that has these mount points and nothing else.
func (d *Driver) spareDir(points []string) (*os.File, error) {
	key := strings.Join(points, "\x00")
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.spare[key]; f != nil {
		return f, nil
	}
	scratch, err := d.store.Scratch()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(scratch, "spare-")
	if err != nil {
		return nil, err
	}
	if err := fill(dir, points); err != nil {
		return nil, fmt.Errorf("making mount points: %w", err)
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	d.spare[key] = f
	return f, nil
}

// fill makes mount points in an empty directory, whose root is as that of an image. Of points that
// cannot all be, some are left out.
func fill(dir string, points []string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	for _, p := range points {
		name := path.Clean("/" + p)[1:]
		if strings.HasSuffix(p, "/") {
			_ = root.MkdirAll(name, 0o755)
			continue
		}
		_ = root.MkdirAll(path.Dir(name), 0o755)
		if f, err := root.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o644); err == nil {
			f.Close()
		}
	}
	return errors.Join(root.Chmod(".", 0o555), root.Close())
}

// keep makes the directories that a layer is to have when none below has them.
func keep(lowers []*os.File, upper string, names []string) error {
	for _, name := range names {
		name = strings.Trim(name, "/")
		if hasEntry(lowers, name) {
			continue
		}
		if err := os.Mkdir(filepath.Join(upper, name), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// hasEntry reports whether layers, the uppermost first, have an entry in their roots.
func hasEntry(layers []*os.File, name string) bool {
	for _, dir := range layers {
		var st unix.Stat_t
		if unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
			whiteout := st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
			return !whiteout
		}
	}
	return false
}
