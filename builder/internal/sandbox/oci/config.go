//go:build linux && cgo

package oci

import (
	"fmt"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"sync"

	_ "github.com/opencontainers/cgroups/devices" // libcontainer needs it registered
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/passwd"
	"github.com/oakum-build/oakum/builder/internal/rights"
	"github.com/oakum-build/oakum/builder/internal/sandbox"
)

// launcher is where a command sees that of its own.
const launcher = "/dev/launcher"

// MountPoints is that of sandbox.Sandbox.
func (o *oci) MountPoints(c sandbox.Command) []string { return sandbox.MountPoints(c) }

// Fills is that of sandbox.Sandbox.
func (o *oci) Fills() bool { return false }

// Isolation is that of sandbox.Sandbox.
func (o *oci) Isolation() (sandbox.Isolation, error) {
	u, err := o.userns()
	if err != nil {
		return sandbox.Isolation{}, err
	}
	r, err := u.Of(sandbox.Command{}, false)
	if err != nil {
		return sandbox.Isolation{}, err
	}
	namespaces := []string{"ipc", "mnt", "pid", "uts"}
	if u.IsNew() {
		namespaces = append(namespaces, "user")
	}
	return sandbox.Isolation{
		Name: "oci", Namespaces: namespaces, Filter: "docker", Capabilities: r.Capabilities, Devices: slices.Clone(rights.Devices),
		Masked: r.Masked, ReadOnly: append(r.ReadOnly, "/sys"), Scoped: rights.Scopes(),
	}, nil
}

// configuring is locked while libcontainer makes a configuration: for one with a user namespace
// it writes the owners of devices that all configurations share.
var configuring sync.Mutex

// configure has libcontainer make a configuration. It asks for the working directory, which may have been removed, and
// fails without one, though all paths are absolute. So it is called on a thread with another one, which then ends.
func configure(opts *specconv.CreateOpts) (conf *configs.Config, err error) {
	configuring.Lock()
	defer configuring.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocks it
		if err = unix.Unshare(unix.CLONE_FS); err != nil {
			err = os.NewSyscallError("unshare", err)
			return
		}
		if err = unix.Chdir("/"); err != nil {
			err = &os.PathError{Op: "chdir", Path: "/", Err: err}
			return
		}
		conf, err = specconv.CreateLibcontainerConfig(opts)
	}()
	<-done
	return conf, err
}

func (c *container) config() (*configs.Config, error) {
	caps := c.rights.Capabilities
	spec := &specs.Spec{
		Version:  specs.Version,
		Hostname: c.Hostname,
		Root:     &specs.Root{Path: c.Root.Path},
		Process: &specs.Process{
			Capabilities:    &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
			NoNewPrivileges: c.rights.NoNewPrivileges, ApparmorProfile: c.rights.AppArmor, SelinuxLabel: c.rights.Label,
		},
		Mounts: c.mounts(),
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.MountNamespace}, {Type: specs.PIDNamespace},
				{Type: specs.IPCNamespace}, {Type: specs.UTSNamespace},
			},
			MaskedPaths:   c.rights.Masked,
			ReadonlyPaths: c.rights.ReadOnly,
			Seccomp:       c.rights.Filter,
		},
	}
	if u := c.userns; u.IsNew() {
		spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace, Path: c.users})
		spec.Linux.UIDMappings, spec.Linux.GIDMappings = identity(u.UIDs), identity(u.GIDs)
	}
	// RootlessCgroups: no cgroup is made, so none is left behind when we are killed;
	// the PID namespace is what ends the processes.
	conf, err := configure(&specconv.CreateOpts{CgroupName: c.id, Spec: spec, NoNewKeyring: true, RootlessCgroups: true})
	if err != nil {
		return nil, fmt.Errorf("container configuration: %w", err)
	}
	conf.Devices = nil // they are among the mounts
	if c.Cgroup != nil {
		// The process waits meanwhile, and has executed nothing of the command's.
		join := configs.NewFunctionHook(func(s *specs.State) error {
			_, err := c.Cgroup.WriteString(strconv.Itoa(s.Pid))
			return err
		})
		conf.Hooks = configs.Hooks{configs.CreateRuntime: configs.HookList{join}}
	}
	for _, l := range c.rights.Limits {
		conf.Rlimits = append(conf.Rlimits, configs.Rlimit{Type: l.Resource, Soft: l.Soft, Hard: l.Hard})
	}
	return conf, nil
}

// identity maps each id to itself.
func identity(ids passwd.IDMap) []specs.LinuxIDMapping {
	var maps []specs.LinuxIDMapping
	for _, r := range ids {
		maps = append(maps, specs.LinuxIDMapping{ContainerID: uint32(r.First), HostID: uint32(r.First), Size: uint32(r.Count)})
	}
	return maps
}

// mounts are what every command has, and what this one has besides.
func (c *container) mounts() []specs.Mount {
	m := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		// 755: in a sticky /dev a bound device could not be opened by its owner's others.
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=" + strconv.FormatInt(c.rights.ShmSize, 10)}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
	}
	for _, name := range rights.Devices {
		// Read-only is the node, whose mode and owner are the host's, not the device.
		m = append(m, specs.Mount{Destination: name, Type: "bind", Source: name, Options: []string{"bind", "ro", "nosuid"}})
	}
	m = append(m, c.sysMounts()...)
	for i, d := range c.Devices {
		m = append(m, specs.Mount{Destination: d.Target, Type: "bind", Source: c.device(i), Options: []string{"bind", "ro", "nosuid", "noexec"}})
	}
	for _, mount := range c.Mounts {
		m = append(m, mounted(mount))
	}
	return m
}

// mounted is a mount of a command's own. What is not made to be executed cannot be.
func mounted(m sandbox.Mount) specs.Mount {
	mount := specs.Mount{Destination: path.Clean(m.Target), Type: "bind", Source: m.Source, Options: []string{"bind", "nosuid", "nodev"}}
	if m.Kind == sandbox.Tmpfs {
		mount.Type, mount.Source, mount.Options = "tmpfs", "tmpfs", []string{"nosuid", "nodev", fmt.Sprintf("mode=%o", tmpfsMode(m.Mode))}
		if m.Size > 0 {
			mount.Options = append(mount.Options, "size="+strconv.FormatInt(m.Size, 10))
		}
	}
	if m.ReadOnly {
		mount.Options = append(mount.Options, "ro")
	}
	if m.Target == sandbox.HostsFile || m.Target == sandbox.ResolvFile {
		mount.Options = append(mount.Options, "noexec")
	}
	return mount
}

// tmpfsMode is a mode as mount(8) takes it.
func tmpfsMode(mode os.FileMode) uint32 {
	bits := uint32(mode.Perm())
	if mode&os.ModeSticky != 0 {
		bits |= unix.S_ISVTX
	}
	if mode == 0 {
		return 0o1777
	}
	return bits
}
