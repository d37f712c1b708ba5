//go:build linux

package worker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage"
)

// mounted is a mounted overlay of a layer and those below it.
type mounted struct {
	path   string
	root   *os.File
	layer  *storage.Layer
	intact func() error // of one that is only read
}

// close unmounts it. When it was only read, it fails when a layer was removed meanwhile:
// what was read then is not what was in it. For steps, MakeLayer finds out.
func (m *mounted) close() error {
	err := m.unmount()
	if m.intact != nil {
		err = errors.Join(err, m.intact())
	}
	return err
}

func (m *mounted) unmount() error {
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

// mount mounts an overlay of a layer's directories. With a staging directory it can be
// written to. The stub layer goes below all when commands will run in it.
func (w *worker) mount(layer *storage.Layer, staging *storage.Staging, stub bool) (*mounted, error) {
	lowers, err := layer.Lowers()
	if err != nil {
		return nil, err
	}
	defer storage.CloseAll(lowers)
	dirs := lowers
	if stub {
		dirs = append(dirs[:len(dirs):len(dirs)], w.store.Stub())
	}
	if len(dirs) == 0 && staging == nil {
		return w.bind(w.store.Empty())
	}
	// Overlay wants a lower directory, and two of them, not the same, when there is no
	// upper one.
	for len(dirs) == 0 || (staging == nil && len(dirs) < 2) {
		dirs = append(dirs[:len(dirs):len(dirs)], w.store.Empty())
	}
	var upper []*os.File
	if staging != nil {
		for _, path := range []string{staging.Upper, staging.Work} {
			f, err := os.Open(path)
			if err != nil {
				storage.CloseAll(upper)
				return nil, err
			}
			upper = append(upper, f)
		}
		defer storage.CloseAll(upper)
	}
	m, err := w.mountDirs(dirs, upper)
	if err != nil {
		return nil, err
	}
	m.layer = layer
	if staging == nil {
		m.intact = func() error { return w.store.Intact(layer) }
	}
	return m, nil
}

// mountDirs names directories by descriptor: short, so that many layers fit in the one
// page of mount's options, and safe from renames.
func (w *worker) mountDirs(dirs, upper []*os.File) (*mounted, error) {
	names := make([]string, len(dirs))
	for i, d := range dirs {
		names[i] = fmt.Sprintf("/proc/self/fd/%d", d.Fd())
	}
	opts := []string{"lowerdir=" + strings.Join(names, ":")}
	if w.rootless {
		opts = append(opts, "userxattr")
	} else {
		// A layer must not say that one of its directories is another one.
		opts = append(opts, "redirect_dir=nofollow", "metacopy=off", "index=off")
	}
	var flags uintptr = unix.MS_NODEV
	if upper == nil {
		flags |= unix.MS_RDONLY
	} else {
		// Layers are not synced one by one, so a command's fsync buys nothing.
		opts = append(opts, "volatile",
			fmt.Sprintf("upperdir=/proc/self/fd/%d", upper[0].Fd()), fmt.Sprintf("workdir=/proc/self/fd/%d", upper[1].Fd()))
	}
	data := strings.Join(opts, ",")
	if len(data) >= os.Getpagesize() {
		return nil, fmt.Errorf("%w: too many layers (%d) for one overlay", errInvalid, len(dirs))
	}
	return w.mountAt("overlay", "overlay", flags, data)
}

// bind mounts a directory that is only read.
func (w *worker) bind(dir *os.File) (*mounted, error) {
	return w.mountAt(fmt.Sprintf("/proc/self/fd/%d", dir.Fd()), "", unix.MS_BIND, "")
}

// bindFixed mounts a file or directory where its path stays what it is, and where no link
// below it is followed, which kernels before 5.14 do not know.
func (w *worker) bindFixed(f *os.File) (*mounted, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		m, err := w.bind(f)
		if err != nil {
			return nil, err
		}
		attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSYMFOLLOW}
		err = unix.MountSetattr(unix.AT_FDCWD, m.path, 0, &attr)
		if err != nil && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EINVAL) {
			return nil, errors.Join(&os.PathError{Op: "mount_setattr", Path: m.path, Err: err}, m.close())
		}
		return m, nil
	}
	path := filepath.Join(w.mnt, fmt.Sprintf("f%d", w.next()))
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return nil, err
	}
	return w.mountOn(path, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), "", unix.MS_BIND, "")
}

// mountAt mounts something at a new place.
func (w *worker) mountAt(source, kind string, flags uintptr, data string) (*mounted, error) {
	path := filepath.Join(w.mnt, fmt.Sprintf("m%d", w.next()))
	if err := os.Mkdir(path, 0o700); err != nil {
		return nil, err
	}
	return w.mountOn(path, source, kind, flags, data)
}

// mountOn mounts something on what was made for it.
func (w *worker) mountOn(path, source, kind string, flags uintptr, data string) (*mounted, error) {
	if err := unix.Mount(source, path, kind, flags, data); err != nil {
		os.Remove(path)
		return nil, fmt.Errorf("mounting %s (%s): %w", source, data, err)
	}
	root, err := os.Open(path)
	if err != nil {
		return nil, errors.Join(err, unix.Unmount(path, unix.MNT_DETACH))
	}
	return &mounted{path: path, root: root}, nil
}
