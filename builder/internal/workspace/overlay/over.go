//go:build linux

package overlay

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/mountpoint"
	"github.com/oakum-build/oakum/storage"
)

// Over is workspace.Driver's.
func (d *Driver) Over(dir *os.File, points []string) (root *os.File, release func() error, err error) {
	return mountpoint.InScratch(d.store, points, func(place string) (*os.File, func() error, error) { return d.over(dir, place) })
}

// over mounts a root above dir whose changes are in place.
func (d *Driver) over(dir *os.File, place string) (root *os.File, end func() error, err error) {
	staging := storage.Staging{Upper: filepath.Join(place, "upper"), Work: filepath.Join(place, "work")}
	if err := errors.Join(os.Mkdir(staging.Upper, 0o755), os.Mkdir(staging.Work, 0o755)); err != nil {
		return nil, nil, err
	}
	// What is seen of a directory itself is the upper one's.
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return nil, nil, &os.PathError{Op: "stat", Path: dir.Name(), Err: err}
	}
	err = errors.Join(os.Chown(staging.Upper, int(st.Uid), int(st.Gid)), unix.Chmod(staging.Upper, st.Mode&0o7777))
	if err != nil {
		return nil, nil, err
	}
	m, err := d.mount([]*os.File{dir}, &staging)
	if err != nil {
		return nil, nil, err
	}
	return m.root, m.close, nil
}
