//go:build linux && (amd64 || arm64)

package thread

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/rights"
	"github.com/oakum-build/oakum/builder/internal/sandbox"
)

// view is what a command sees of files, on its way to its place.
type view struct {
	mounts int // the mount namespace
	own    int // a tmpfs of the command's own files
	root   int // the root file system
	// Mounts that are not in their places yet, by where that is.
	sources  []source
	dev, pts int
	// procPoint is where the command's process mounts its own /proc.
	procPoint int
	ownProc   int // that of this process, where the command gets that
	// masks are those of paths below /proc, which only that process can mount.
	masks []source
}

// source is something that is mounted at a path of the root file system.
type source struct {
	mount    int
	target   string
	optional bool // it is left out where there is no such path
	file     bool // its mount point below /dev is one
}

// prepare takes this thread into new namespaces, in which it makes all that the command sees.
func (c *container) prepare(ctx context.Context) error {
	if c.chroot != nil {
		return c.fill(ctx)
	}
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC); err != nil {
		return fmt.Errorf("new namespaces: %w", os.NewSyscallError("unshare", err))
	}
	var err error
	if c.mounts, err = unix.Open("/proc/thread-self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return &os.PathError{Op: "open", Path: "/proc/thread-self/ns/mnt", Err: err}
	}
	c.keep(c.mounts)
	if ns := c.Network.Namespace; ns != nil {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("the network namespace: %w", os.NewSyscallError("setns", err))
		}
	}
	for _, step := range []func() error{c.nameMachine, c.writeOwn, c.openSources, c.enter, c.makeDev, c.mountAll} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// nameMachine gives the machine its name in the command's UTS namespace. A container's filter may refuse
// that to all who have no CAP_SYS_ADMIN there, as Podman's does: then a name that nobody asked for is the container's.
func (c *container) nameMachine() error {
	name := cmp.Or(c.Hostname, sandbox.DefaultHostname)
	err := unix.Sethostname([]byte(name))
	switch {
	case errors.Is(err, unix.EPERM) && c.Hostname == "":
		name, err = os.Hostname()
	case errors.Is(err, unix.EPERM):
		return &sandbox.HostError{Missing: fmt.Sprintf("the host name %q: %v", name, os.NewSyscallError("sethostname", err)),
			Remedy: "leave it out, or have the container's seccomp profile allow sethostname"}
	}
	c.Hostname = name
	if err != nil {
		return fmt.Errorf("the host name %q: %w", name, err)
	}
	return nil
}

// Names on the tmpfs of the command's own files.
const (
	hosts  = "hosts"
	resolv = "resolv.conf"
	empty  = "empty" // what is hidden
)

// writeOwn writes the files that the command sees as its own to a tmpfs of its own: who may mount could
// else make one read-only that others need. To be mounted from, it must be somewhere.
func (c *container) writeOwn() error {
	var err error
	if c.own, err = c.fresh("tmpfs", noSUID|noDev|noExec, "mode", "755", "size", "65536k"); err != nil {
		return err
	}
	if err := unix.MoveMount(c.own, "", unix.AT_FDCWD, c.dir, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return &os.PathError{Op: "mount", Path: c.dir, Err: err}
	}
	if err := unix.Mkdirat(c.own, empty, 0o555); err != nil {
		return &os.PathError{Op: "mkdir", Path: empty, Err: err}
	}
	for name, text := range map[string]string{hosts: c.hosts(), resolv: c.Network.Resolv} {
		fd, err := unix.Openat(c.own, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
		if err != nil {
			return &os.PathError{Op: "create", Path: name, Err: err}
		}
		f := os.NewFile(uintptr(fd), name)
		_, err = f.WriteString(text)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// openSources makes mounts of all that is the caller's, as long as it can be seen.
func (c *container) openSources() error {
	var err error
	add := func(target string, dir int, name string, attributes uint64) *source {
		mount := -1
		if err == nil {
			mount, err = c.clone(dir, name, 0, attributes)
		}
		c.sources = append(c.sources, source{mount: mount, target: target})
		return &c.sources[len(c.sources)-1]
	}
	// Set-user-ID programs work, and device nodes do not.
	c.root, err = c.clone(unix.AT_FDCWD, c.Root.Path, unix.AT_RECURSIVE, noDev)
	for _, name := range rights.Devices {
		// Read-only is the node, whose mode and owner are the host's, not the device.
		add(name, unix.AT_FDCWD, name, readOnly|noSUID).file = true
	}
	for _, d := range c.Devices {
		if err == nil {
			err = c.openDevice(d)
		}
	}
	if !c.Network.NoHosts {
		add(sandbox.HostsFile, c.own, hosts, noSUID|noDev|noExec)
	}
	add(sandbox.ResolvFile, c.own, resolv, noSUID|noDev|noExec)
	for _, m := range c.Mounts {
		attributes := uint64(noSUID | noDev)
		if m.ReadOnly {
			attributes |= readOnly
		}
		switch m.Kind {
		case sandbox.Tmpfs:
			if err == nil {
				err = c.newTmpfs(m, attributes)
			}
		default:
			add(path.Clean(m.Target), unix.AT_FDCWD, m.Source, attributes).file = m.Kind.IsFile()
		}
	}
	if err != nil {
		return err
	}
	if c.reaper != nil { // with all that is mounted over what must not be seen of it
		if c.ownProc, err = c.clone(unix.AT_FDCWD, "/proc", unix.AT_RECURSIVE, noSUID|noDev|noExec); err != nil {
			return err
		}
	}
	if err := c.openSys(); err != nil {
		return err
	}
	return c.openMasks()
}

func (c *container) newTmpfs(m sandbox.Mount, attributes uint64) error {
	options := []string{"mode", "1777"}
	if m.Mode != 0 {
		options[1] = mode(m.Mode)
	}
	if m.Size > 0 {
		options = append(options, "size", strconv.FormatInt(m.Size, 10))
	}
	mount, err := c.fresh("tmpfs", int(attributes), options...)
	c.sources = append(c.sources, source{mount: mount, target: path.Clean(m.Target)})
	return err
}

func (c *container) openDevice(d sandbox.Device) error {
	node, err := rights.OpenDevice(d.Path)
	if err != nil {
		return err
	}
	defer node.Close()
	mount, err := c.clone(int(node.Fd()), "", 0, readOnly|noSUID|noExec)
	c.sources = append(c.sources, source{mount: mount, target: path.Clean(d.Target), file: true})
	return err
}

// openSys makes the mount of /sys: that of the network namespace where the command is given one and a
// fresh /sys may be mounted, and otherwise what this process has.
func (c *container) openSys() (err error) {
	attributes := uint64(noSUID | noDev | noExec)
	if !c.rights.WritableSys {
		attributes |= readOnly
	}
	const cgroups = "/sys/fs/cgroup" // by which programs know how much they may use
	s := source{target: "/sys"}
	given := c.Network.Namespace != nil
	if given || c.users.Initial {
		s.mount, err = c.fresh("sysfs", int(attributes))
	}
	if !given && !c.users.Initial || errors.Is(err, unix.EPERM) {
		given = false
		s.mount, err = c.clone(unix.AT_FDCWD, "/sys", unix.AT_RECURSIVE, attributes)
	}
	if err != nil {
		return err
	}
	c.sources = append(c.sources, s)
	if given {
		s = source{target: cgroups, optional: true}
		if s.mount, err = c.clone(unix.AT_FDCWD, cgroups, unix.AT_RECURSIVE, attributes); errors.Is(err, unix.ENOENT) {
			return nil
		}
		c.sources = append(c.sources, s)
	}
	return err
}

// openMasks makes a mount of nothing for each path that is hidden, as far as this process sees it, which
// has the same /proc and /sys.
func (c *container) openMasks() error {
	for _, name := range c.rights.Masked {
		inMachine := strings.HasPrefix(name, "/proc/") || strings.HasPrefix(name, "/sys/")
		info, err := os.Lstat(name)
		if !inMachine {
			info, err = os.Lstat(c.Root.Path + name)
		}
		if err != nil {
			continue
		}
		dir, nothing := unix.AT_FDCWD, os.DevNull
		if info.IsDir() {
			dir, nothing = c.own, empty
		}
		mount, err := c.clone(dir, nothing, 0, readOnly|noSUID)
		if err != nil {
			return fmt.Errorf("hiding %s: %w", name, err)
		}
		s := source{mount: mount, target: name, optional: true}
		if strings.HasPrefix(name, "/proc/") {
			c.masks = append(c.masks, s)
		} else {
			c.sources = append(c.sources, s)
		}
	}
	return nil
}

// enter makes the root file system that of this thread, and takes all else away. As long as the old root is
// over it, nothing may be looked up: the parent of the new root would be the old one.
func (c *container) enter() error {
	if err := unix.MoveMount(c.root, "", unix.AT_FDCWD, c.Root.Path, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return &os.PathError{Op: "mount", Path: c.Root.Path, Err: err}
	}
	if err := unix.Fchdir(c.root); err != nil {
		return &os.PathError{Op: "chdir", Path: c.Root.Path, Err: err}
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return &os.PathError{Op: "pivot_root", Path: c.Root.Path, Err: err}
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("the old root: %w", os.NewSyscallError("umount", err))
	}
	return nil
}

// links are in /dev, as Docker's containers have them.
var links = [][2]string{
	{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"}, {"pts/ptmx", "ptmx"}, {"/proc/kcore", "core"},
}

// makeDev mounts /dev and what is in it, but for the devices.
func (c *container) makeDev() error {
	point, err := c.inRoot(c.root, "/dev", 0)
	if err != nil {
		return err
	}
	// 755: in a sticky /dev a bound device could not be opened by its owner's others.
	if c.dev, err = c.fresh("tmpfs", noSUID|noDev|unix.MOUNT_ATTR_STRICTATIME, "mode", "755", "size", "65536k"); err != nil {
		return err
	}
	for _, link := range links {
		if link[1] == "core" && !c.kcore {
			continue
		}
		if err := unix.Symlinkat(link[0], c.dev, link[1]); err != nil {
			return &os.PathError{Op: "symlink", Path: "/dev/" + link[1], Err: err}
		}
	}
	if err := attach(c.dev, point, "/dev"); err != nil {
		return err
	}
	pts := []string{"ptmxmode", "0666", "mode", "0620"}
	if c.ttyGroup {
		pts = append(pts, "gid", "5")
	}
	for _, fs := range []struct {
		name, kind string
		attributes int
		options    []string
	}{
		{"pts", "devpts", noSUID | noExec, pts},
		{"shm", "tmpfs", noSUID | noExec | noDev, []string{"mode", "1777", "size", strconv.FormatInt(c.rights.ShmSize, 10)}},
		{"mqueue", "mqueue", noSUID | noExec | noDev, nil},
	} {
		mount, err := c.fresh(fs.kind, fs.attributes, fs.options...)
		if err != nil {
			return err
		}
		point, err := c.pointInDev(fs.name, false)
		if err == nil {
			err = attach(mount, point, "/dev/"+fs.name)
		}
		if err != nil {
			return err
		}
		if fs.name == "pts" {
			c.pts = mount
		}
	}
	return nil
}

// pointInDev makes a mount point in /dev, which has nothing in it that is not ours.
func (c *container) pointInDev(name string, file bool) (int, error) {
	parent := ""
	for part := range strings.SplitSeq(path.Dir(name), "/") {
		if parent = path.Join(parent, part); parent == "." {
			continue
		}
		if err := unix.Mkdirat(c.dev, parent, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
			return -1, &os.PathError{Op: "mkdir", Path: "/dev/" + parent, Err: err}
		}
	}
	var err error
	if file {
		var fd int
		if fd, err = unix.Openat(c.dev, name, unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC|unix.O_WRONLY|unix.O_NOFOLLOW, 0o644); err == nil {
			unix.Close(fd)
		}
	} else {
		err = unix.Mkdirat(c.dev, name, 0o755)
	}
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return -1, &os.PathError{Op: "create", Path: "/dev/" + name, Err: err}
	}
	return c.inRoot(c.dev, name, unix.RESOLVE_NO_SYMLINKS)
}

// mountAll mounts everything in its place. Where /sys and /proc are to be was found before, so that no
// mount of the command's own comes between.
func (c *container) mountAll() error {
	var err error
	if c.procPoint, err = c.inRoot(c.root, "/proc", unix.RESOLVE_NO_SYMLINKS); err != nil {
		return err
	}
	for _, s := range c.sources {
		if err := c.mountAt(s); err != nil {
			return err
		}
	}
	return nil
}

func (c *container) mountAt(s source) error {
	point, err := -1, error(nil)
	below, inDev := strings.CutPrefix(s.target, "/dev/")
	switch {
	case inDev:
		point, err = c.pointInDev(below, s.file)
	case s.target == "/sys":
		point, err = c.inRoot(c.root, s.target, unix.RESOLVE_NO_SYMLINKS)
	default:
		if point, err = c.inRoot(c.root, s.target, 0); !s.optional && errors.Is(err, unix.ENOENT) {
			point, err = c.pointInMount(s.target, s.file)
		}
	}
	if s.optional && errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err == nil && !inDev {
		err = c.refuse(point, s.target)
	}
	if err != nil {
		return err
	}
	return attach(s.mount, point, s.target)
}

// pointInMount makes a mount point, with the directories above it, in what was mounted before: the root
// file system itself has all of its own.
func (c *container) pointInMount(target string, file bool) (int, error) {
	dir, name := path.Split(target)
	parent, err := c.inRoot(c.root, dir, 0)
	if errors.Is(err, unix.ENOENT) && dir != "/" {
		parent, err = c.pointInMount(path.Clean(dir), false)
	}
	if err != nil {
		return -1, err
	}
	if file {
		var fd int
		if fd, err = unix.Openat(parent, name, unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC|unix.O_WRONLY|unix.O_NOFOLLOW, 0o644); err == nil {
			unix.Close(fd)
		}
	} else {
		err = unix.Mkdirat(parent, name, 0o755)
	}
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return -1, &os.PathError{Op: "making a mount point in another mount", Path: target, Err: err}
	}
	return c.inRoot(c.root, target, 0)
}

// refuse refuses a target that a link of the root file system's leads to what nothing may hide.
func (c *container) refuse(point int, target string) error {
	var at, other unix.Stat_t
	if err := unix.Fstat(point, &at); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	for fd, name := range map[int]string{c.root: "/", c.procPoint: "/proc", c.dev: "/dev"} {
		if err := unix.Fstat(fd, &other); err != nil {
			return os.NewSyscallError("fstat", err)
		}
		if at.Dev == other.Dev && at.Ino == other.Ino {
			return fmt.Errorf("%w: nothing can be mounted on %s, which is %s here", sandbox.ErrInvalid, target, name)
		}
	}
	return nil
}
