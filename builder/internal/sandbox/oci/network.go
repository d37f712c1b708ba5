//go:build linux && cgo

package oci

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// mountSys mounts the /sys of a network namespace that the command gets of the caller: a container
// whose user namespace is another one than that namespace's may not. Where the caller may not either, the
// command sees the caller's.
func (c *container) mountSys() error {
	ns := c.Network.Namespace
	if ns == nil {
		return nil
	}
	dir := filepath.Join(c.files, "sys")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for ever: it stays in the namespace
		err := join(ns)
		if err == nil {
			err = unix.Mount("sysfs", dir, "sysfs", unix.MS_NOSUID|unix.MS_NOEXEC|unix.MS_NODEV, "")
		}
		done <- err
	}()
	err := <-done
	if err == nil {
		c.sys = dir
	} else if errors.Is(err, fs.ErrPermission) {
		err = nil
	}
	return err
}

// unmountSys undoes mountSys.
func (c *container) unmountSys() {
	if c.sys != "" {
		_ = unix.Unmount(c.sys, unix.MNT_DETACH)
	}
}

// join puts the calling thread into a network namespace, and so what it starts.
func join(ns *os.File) error {
	return os.NewSyscallError("setns", unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET))
}

// sysMounts are /sys and what is in it.
func (c *container) sysMounts() []specs.Mount {
	access := []string{"rro"}
	if c.rights.WritableSys {
		access = nil
	}
	bind := append([]string{"rbind", "rnosuid", "rnoexec", "rnodev"}, access...)
	switch {
	case c.sys != "":
		m := []specs.Mount{{Destination: "/sys", Type: "bind", Source: c.sys, Options: bind}}
		const cgroups = "/sys/fs/cgroup" // by which programs know how much they may use
		if _, err := os.Stat(cgroups); err == nil {
			m = append(m, specs.Mount{Destination: cgroups, Type: "bind", Source: cgroups, Options: bind})
		}
		return m
	case c.userns.Initial && c.Network.Namespace == nil:
		options := []string{"nosuid", "noexec", "nodev", "ro"}
		if c.rights.WritableSys {
			options = options[:3]
		}
		return []specs.Mount{{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: options}}
	}
	// A fresh one needs a network namespace of our own.
	return []specs.Mount{{Destination: "/sys", Type: "bind", Source: "/sys", Options: bind}}
}
