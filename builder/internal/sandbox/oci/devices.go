//go:build linux && cgo

package oci

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/rights"
)

// device is where a device of the command's is mounted from.
func (c *container) device(i int) string {
	return filepath.Join(c.files, fmt.Sprintf("device%d", i))
}

// showDevices mounts the nodes of the command's devices below the directory of its files: libcontainer
// mounts from paths, of which only these are such that nobody can put something else there.
func (c *container) showDevices() error {
	for i, d := range c.Devices {
		if err := showDevice(d.Path, c.device(i)); err != nil {
			return err
		}
	}
	return nil
}

func showDevice(from, to string) error {
	node, err := rights.OpenDevice(from)
	if err != nil {
		return err
	}
	defer node.Close()
	if err := os.WriteFile(to, nil, 0o600); err != nil {
		return err
	}
	tree, err := unix.OpenTree(int(node.Fd()), "", unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return &os.PathError{Op: "open_tree", Path: from, Err: err}
	}
	defer unix.Close(tree)
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, to, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return &os.PathError{Op: "move_mount", Path: from, Err: err}
	}
	return nil
}

// hideDevices undoes showDevices.
func (c *container) hideDevices() {
	for i := range c.Devices {
		_ = unix.Unmount(c.device(i), unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) // not there after an error
	}
}
