//go:build linux

package overlay

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/workspace"
	"github.com/oakum-build/oakum/storage"
)

// mounted is a mounted overlay.
type mounted struct {
	path string
	root *os.File
}

func (m *mounted) close() error {
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

// maxLowers is the kernel's limit, for whose error an invalid argument is too little.
const maxLowers = 500

// mount mounts directories over each other, the topmost first. With a staging directory the
// result can be written to.
func (d *Driver) mount(dirs []*os.File, staging *storage.Staging) (*mounted, error) {
	opts := []string{"lowerdir=" + strings.Join(numbers(dirs), ":")}
	if d.rootless {
		opts = append(opts, "userxattr")
	} else {
		// A layer must not say that one of its directories is another one.
		opts = append(opts, "redirect_dir=nofollow", "metacopy=off", "index=off")
	}
	var flags uintptr = unix.MS_NODEV
	if staging == nil {
		flags |= unix.MS_RDONLY
	} else {
		upper, err := os.Open(staging.Upper)
		if err != nil {
			return nil, err
		}
		defer upper.Close()
		work, err := os.Open(staging.Work)
		if err != nil {
			return nil, err
		}
		defer work.Close()
		// Layers are not synced one by one, so a command's fsync buys nothing.
		opts = append(opts, "volatile", fmt.Sprintf("upperdir=%d", upper.Fd()), fmt.Sprintf("workdir=%d", work.Fd()))
	}
	data := strings.Join(opts, ",")
	if len(dirs) > maxLowers || len(data) >= os.Getpagesize() {
		return nil, fmt.Errorf("%w: %d, and an overlay is of %d at most; build on an image of fewer", workspace.ErrTooMany, len(dirs), maxLowers)
	}
	path := d.place()
	if err := os.Mkdir(path, 0o700); err != nil {
		return nil, err
	}
	if err := mountByNumbers(path, flags, data); err != nil {
		os.Remove(path)
		return nil, fmt.Errorf("mounting an overlay of %d directories (%s): %w", len(dirs), data, err)
	}
	root, err := os.Open(path)
	if err != nil {
		return nil, errors.Join(err, unix.Unmount(path, unix.MNT_DETACH))
	}
	return &mounted{path: path, root: root}, nil
}

// numbers names directories by their descriptors, as mountByNumbers takes them: short, so that
// many layers fit in the one page of mount's options, and safe from renames.
func numbers(dirs []*os.File) []string {
	names := make([]string, len(dirs))
	for i, dir := range dirs {
		names[i] = strconv.Itoa(int(dir.Fd()))
	}
	return names
}

// mountByNumbers mounts where the process's descriptors are the names of files: on a thread with
// a working directory of its own, which then ends. It is not the main thread, which cannot end: a
// worker's stays with its main goroutine.
func mountByNumbers(path string, flags uintptr, data string) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocks it
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return os.NewSyscallError("unshare", err)
			}
			if err := unix.Chdir("/proc/self/fd"); err != nil {
				return &os.PathError{Op: "chdir", Path: "/proc/self/fd", Err: err}
			}
			return unix.Mount("overlay", path, "overlay", flags, data)
		}()
	}()
	return <-done
}
