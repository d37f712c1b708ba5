//go:build linux

package worker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// fixed is a file or directory that is mounted at a place of its own, where its path stays what
// it is.
type fixed struct {
	path string
	dir  bool
	root *os.File
}

func (m *fixed) close() error {
	m.root.Close()
	err := unix.Unmount(m.path, 0)
	if errors.Is(err, unix.EBUSY) {
		err = unix.Unmount(m.path, unix.MNT_DETACH)
	}
	if err != nil {
		return &os.PathError{Op: "unmount", Path: m.path, Err: err}
	}
	return os.Remove(m.path)
}

// bindFixed mounts a file or directory, open or as a mere path.
func (w *worker) bindFixed(f *os.File) (*fixed, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(w.mnt, fmt.Sprintf("f%d", w.next()))
	if info.IsDir() {
		err = os.Mkdir(path, 0o700)
	} else {
		err = os.WriteFile(path, nil, 0o600)
	}
	if err != nil {
		return nil, err
	}
	if err := unix.Mount(descriptor(f), path, "", unix.MS_BIND, ""); err != nil {
		os.Remove(path)
		return nil, fmt.Errorf("mounting %s: %w", f.Name(), err)
	}
	root, err := os.Open(path)
	if err != nil {
		return nil, errors.Join(err, unix.Unmount(path, unix.MNT_DETACH))
	}
	return &fixed{path: path, dir: info.IsDir(), root: root}, nil
}
