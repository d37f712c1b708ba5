//go:build linux

package tree

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/builder/internal/mountpoint"
)

// Over is workspace.Driver's: it copies the files.
func (d *Driver) Over(dir *os.File, points []string) (root *os.File, release func() error, err error) {
	return mountpoint.InScratch(d.store, points, func(place string) (*os.File, func() error, error) {
		name := filepath.Join(place, "root")
		if err := os.Mkdir(name, 0o700); err != nil {
			return nil, nil, err
		}
		root, err := os.Open(name)
		if err != nil {
			return nil, nil, err
		}
		if err := copyAll(root, dir); err != nil {
			return nil, nil, errors.Join(err, root.Close())
		}
		return root, root.Close, nil
	})
}

// copyAll copies a directory, with what belongs to itself.
func copyAll(to, from *os.File) error {
	if _, err := filecopy.Copy(context.Background(), filecopy.Target{Root: to, Dest: "/"}, []filecopy.Tree{{Root: from}}); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(from.Fd()), &st); err != nil {
		return &os.PathError{Op: "stat", Path: from.Name(), Err: err}
	}
	return errors.Join(to.Chown(int(st.Uid), int(st.Gid)), unix.Fchmod(int(to.Fd()), st.Mode&0o7777))
}
