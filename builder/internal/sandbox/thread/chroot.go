//go:build linux && (amd64 || arm64)

package thread

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/rights"
	"github.com/oakum-build/oakum/builder/internal/sandbox"
	"github.com/oakum-build/oakum/builder/internal/sandbox/fill"
	"github.com/oakum-build/oakum/builder/internal/sandbox/notify"
)

// Where neither namespaces nor mounts are allowed, as to root in a Docker container, a command gets another
// root directory by chroot(2), and all else that can be taken from it: capabilities, among them those for leaving
// that directory and for making devices, system calls, privileges of programs, and where the kernel knows them,
// signals and abstract sockets (Landlock). It is no boundary as namespaces are: the command sees the machine's
// processes by their numbers, and has its network and user ids.
//
// What namespaces show by mounts is put into the root file system as files, and taken out again (package fill).
// There is no /sys. What a command asks about /proc is answered by package notify. Its processes are ended by package
// reaper.

// chroot is what commands without namespaces need of a machine.
type chroot struct {
	proc     int                    // of this process
	nodes    map[string]unix.Stat_t // devices whose nodes can be made
	stood    []string               // those for which files can stand whose opening is answered
	hostname string
	silent   error // why nothing can answer what commands ask about /proc, or nil
	admin    bool  // this process has CAP_SYS_ADMIN, and needs no PR_SET_NO_NEW_PRIVS to set filters and rules
	canDrop  bool  // it may drop capabilities from the bounding set
	serial   atomic.Int64
}

// lookForChroot finds what commands need.
func (m *machine) lookForChroot() (err error) {
	if m.users, err = rights.NoUserNamespace(); err != nil {
		return err
	}
	c := &chroot{}
	m.chroot = c
	if c.hostname, err = os.Hostname(); err != nil {
		return err
	}
	if c.proc, err = unix.Open("/proc", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return &os.PathError{Op: "open", Path: "/proc", Err: err}
	}
	if m.stub, err = memoryStub(); err != nil {
		return err
	}
	c.silent = notify.Trial()
	own, err := m.reap()
	if err != nil {
		return err
	}
	caps, _ := strconv.ParseUint(field(own, "CapEff"), 16, 64)
	c.admin, c.canDrop = caps&(1<<unix.CAP_SYS_ADMIN) != 0, caps&(1<<unix.CAP_SETPCAP) != 0
	if c.nodes, err = possibleNodes(m.dir); err != nil {
		return err
	}
	for _, name := range rights.Devices {
		var st unix.Stat_t
		_, can := c.nodes[name]
		// A terminal is that of who opens it.
		if !can && name != "/dev/tty" && unix.Lstat(name, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR {
			c.stood = append(c.stood, name)
		}
	}
	return nil
}

// field gives the value of a line of /proc/PID/status.
func field(status []byte, name string) string {
	_, rest, _ := bytes.Cut(status, []byte("\n"+name+":"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	return string(bytes.TrimSpace(line))
}

// restricted says whether a process of /proc has less than this one, whose status is given, or other mounts, and so is
// of a command: none of that can be had back.
func restricted(own []byte, mounts string, number int) bool {
	if other, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", number)); err == nil && other != mounts {
		return true
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", number))
	return err == nil && slices.ContainsFunc([]string{"CapBnd", "NoNewPrivs", "Seccomp_filters"}, func(name string) bool {
		return field(status, name) != field(own, name)
	})
}

// possibleNodes are the usual devices, as far as their nodes can be made and used on the file system of a
// directory.
func possibleNodes(dir string) (map[string]unix.Stat_t, error) {
	at, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer at.Close()
	nodes := map[string]unix.Stat_t{}
	for _, name := range rights.Devices {
		var st unix.Stat_t
		if unix.Lstat(name, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR {
			continue
		}
		trial := "node-" + filepath.Base(name)
		err := fill.MakeNode(at, trial, &st)
		if err == nil && name != "/dev/tty" { // which this process may not have
			var fd int
			if fd, err = unix.Openat(int(at.Fd()), trial, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0); err == nil {
				unix.Close(fd)
			}
		}
		if err == nil {
			nodes[name] = st
		}
		if err := unix.Unlinkat(int(at.Fd()), trial, 0); err != nil && !errors.Is(err, unix.ENOENT) {
			return nil, &os.PathError{Op: "unlink", Path: trial, Err: err}
		}
	}
	return nodes, nil
}

// chrootIsolation is Isolation of commands without namespaces.
func (m *machine) chrootIsolation() (sandbox.Isolation, error) {
	r, err := m.users.Of(sandbox.Command{}, false)
	if err != nil {
		return sandbox.Isolation{}, err
	}
	i := sandbox.Isolation{
		Name: "chroot", Filter: "docker", Capabilities: r.Capabilities, Masked: r.Masked, ReadOnly: append(r.ReadOnly, "/sys"), Scoped: rights.Scopes(), NoNewPrivileges: !m.admin || !m.canDrop,
		Without: []string{
			"namespaces: a command is in the network, and among the processes and users, of the container that oakum is in",
			"mounts: caches are moved to their places, other mounts are copies, and what is written to a read-only one is lost",
		},
	}
	missing := []string{}
	answered := m.silent == nil && (m.admin || i.NoNewPrivileges)
	for _, name := range rights.Devices {
		if _, there := m.nodes[name]; there || answered && slices.Contains(m.stood, name) {
			i.Devices = append(i.Devices, name)
		} else {
			missing = append(missing, name)
		}
	}
	if m.silent != nil {
		i.Without = append(i.Without, "a /proc, and secrets that are files: "+m.silent.Error())
	}
	if !m.admin {
		i.Without = append(i.Without, "set-user-ID programs, such as sudo: they give no other user")
	}
	if len(missing) > 0 {
		i.Without = append(i.Without, "devices whose nodes cannot be made here: "+strings.Join(missing, ", "))
	}
	return i, nil
}

// possible refuses what cannot be had without namespaces and mounts.
func (c *container) possible() error {
	lacking := func(what, remedy string) error {
		return &sandbox.HostError{Missing: what + ", which cannot be where commands have no namespaces", Remedy: remedy}
	}
	for _, name := range c.Security.Mask {
		if !strings.HasPrefix(name, "/proc/") && !strings.HasPrefix(name, "/sys/") {
			return lacking("the path "+name+" is to be hidden from the command", "leave it out")
		}
	}
	switch {
	case c.Users != nil:
		return lacking("the command is to have a user namespace, as programs of another architecture need", "build for this machine's architecture, or where user namespaces are allowed")
	case c.Hostname != "" && c.Hostname != c.hostname:
		return lacking(fmt.Sprintf("the host name is to be %q", c.Hostname), "leave it out")
	case c.Limits.ShmSize != 0:
		return lacking("a size is given for /dev/shm", "leave it out")
	}
	c.Hostname = c.hostname
	return nil
}

// restrict has the command's programs get no privileges where this process could not keep it from using them.
func (c *container) restrict() {
	if !c.canDrop || !c.admin && c.filter != nil {
		c.rights.NoNewPrivileges = true
	}
}

// scoped says whether the command can be kept from signals and sockets.
func (c *container) scoped() bool { return c.admin || c.rights.NoNewPrivileges }

// fill puts all that the command sees into its root file system.
func (c *container) fill(ctx context.Context) (err error) {
	if ns := c.Network.Namespace; ns != nil {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return &sandbox.HostError{Missing: "a command cannot have another network than oakum here: " + os.NewSyscallError("setns", err).Error(), Remedy: "give it the network of oakum (--network=host)"}
		}
	}
	if c.root, err = unix.Open(c.Root.Path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return &os.PathError{Op: "open", Path: c.Root.Path, Err: err}
	}
	c.keep(c.root)
	f := c.filling
	for _, name := range []string{"/proc", "/sys"} {
		if _, err := f.Dir(name); err != nil {
			return err
		}
	}
	if err := c.fillDev(); err != nil {
		return err
	}
	if !c.Network.NoHosts {
		if err := f.File(sandbox.HostsFile, c.hosts(), 0o644); err != nil {
			return err
		}
	}
	if err := f.File(sandbox.ResolvFile, c.Network.Resolv, 0o644); err != nil {
		return err
	}
	for _, m := range c.Mounts {
		if err := f.Mount(ctx, m); err != nil {
			return fmt.Errorf("%s: %w", m.Target, err)
		}
	}
	return nil
}

// fillDev makes /dev, with the devices whose nodes can be made. For others there are files, which are taken for the
// devices where calls are answered; elsewhere /dev/null alone is a file, as it would be once a program has written to it.
func (c *container) fillDev() error {
	dev, err := c.filling.Dir("/dev")
	if err != nil {
		return err
	}
	fd := int(dev.Fd())
	for _, link := range links {
		if link[1] == "core" || link[1] == "ptmx" { // there is nothing that they could lead to
			continue
		}
		if err := unix.Symlinkat(link[0], fd, link[1]); err != nil {
			return &os.PathError{Op: "symlink", Path: "/dev/" + link[1], Err: err}
		}
	}
	for name, mode := range map[string]uint32{"shm": unix.S_ISVTX | 0o777, "pts": 0o755} {
		if err := errors.Join(unix.Mkdirat(fd, name, 0o700), unix.Fchmodat(fd, name, mode, 0)); err != nil {
			return &os.PathError{Op: "mkdir", Path: "/dev/" + name, Err: err}
		}
	}
	for name, st := range c.nodes {
		if err := fill.MakeNode(dev, strings.TrimPrefix(name, "/dev/"), &st); err != nil {
			return err
		}
	}
	files := c.stood
	if c.passage == nil && len(files) > 0 {
		files = []string{os.DevNull}
	}
	for _, name := range files {
		if err := c.filling.File(name, "", 0o666); err != nil {
			return err
		}
	}
	return c.fillDevices()
}

// fillDevices makes the nodes of the devices that the command is given.
func (c *container) fillDevices() error {
	for _, d := range c.Devices {
		node, err := rights.OpenDevice(d.Path)
		if err != nil {
			return err
		}
		var st unix.Stat_t
		err = unix.Fstat(int(node.Fd()), &st)
		node.Close()
		if err == nil {
			err = c.filling.Node(d.Target, &st)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// hosts is the text of /etc/hosts.
func (c *container) hosts() string { return c.Network.Hosts + "127.0.1.1\t" + c.Hostname + "\n" }

// writeChroot changes the root directory. The process is given those whose parents end, as the first one of
// a PID namespace is.
func (c *container) writeChroot(p *program) {
	p.results[procMount] = uintptr(c.proc)
	p.add("the parent of the command's processes", unix.SYS_PRCTL, unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	p.add("the root directory", unix.SYS_FCHDIR, uintptr(c.root))
	p.add("the root directory", unix.SYS_CHROOT, p.text("."))
}
