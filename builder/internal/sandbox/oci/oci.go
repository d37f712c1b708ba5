//go:build linux && cgo

// Package oci is the sandbox of libcontainer, which needs cgo: new mount, PID, IPC and UTS
// namespaces, also a user namespace where the caller is in the machine's, Docker's default
// capabilities, seccomp filter, devices and masked paths, and the network that the caller gives them.
//
// libcontainer starts this binary again for each command's first process; package runinit,
// which this one imports, turns it into that.
package oci

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/passwd"
	"github.com/oakum-build/oakum/builder/internal/rights"
	_ "github.com/oakum-build/oakum/builder/internal/runinit" // commands' first processes
	"github.com/oakum-build/oakum/builder/internal/sandbox"
)

// New makes a sandbox that keeps its state, and what it shows to commands, in dir: an
// absolute path of UTF-8, without links, on a tmpfs, which nobody else can change. It makes
// /sys read-only in the caller's mount namespace, for containers must make no cgroups there,
// since a caller that is killed could not remove them.
func New(dir string) sandbox.Sandbox {
	// Best effort: without it an old kernel's cgroups are only left behind empty.
	_ = unix.MountSetattr(unix.AT_FDCWD, "/sys", unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	return &oci{dir: dir, userns: sync.OnceValues(rights.NewUserNamespace)}
}

type oci struct {
	dir    string
	userns func() (rights.UserNamespace, error) // found when the first command runs
	serial atomic.Int64
}

// container is a command as libcontainer is to run it.
type container struct {
	sandbox.Command // with another first process, if need be
	id              string
	files           string // a directory of its own
	sys             string // where the /sys of its network namespace is mounted, if it is
	userns          rights.UserNamespace
	users           string // the path of one that was given
	rights          rights.Rights
	i386            bool
}

// Run is that of sandbox.Sandbox.
func (o *oci) Run(ctx context.Context, command sandbox.Command) (code int, err error) {
	if err := errors.Join(ctx.Err(), command.Check(), command.Mountable()); err != nil {
		return 0, err
	}
	c := &container{Command: command, id: fmt.Sprintf("run%d", o.serial.Add(1))}
	c.Hostname = cmp.Or(c.Hostname, sandbox.DefaultHostname)
	if c.userns, err = o.userns(); err != nil {
		return 0, err
	}
	c.userns = c.userns.For(command)
	c.files = filepath.Join(o.dir, "files", c.id)
	defer os.RemoveAll(c.files)
	defer c.unmountSys()
	if err := c.prepare(); err != nil {
		return 0, err
	}
	if err := c.mountSys(); err != nil {
		return 0, err
	}
	defer c.hideDevices()
	if err := c.showDevices(); err != nil {
		return 0, err
	}
	if users := command.Users; users != nil {
		forget, err := c.show(users)
		if err != nil {
			return 0, err
		}
		defer forget()
	}
	return c.run(ctx, filepath.Join(o.dir, "containers"))
}

// prepare writes the command's own files, and makes mounts of them.
func (c *container) prepare() error {
	root, err := os.Open(c.Root.Path)
	if err != nil {
		return err
	}
	defer root.Close()
	c.i386 = c.Root.I386 || rights.Has32Bit(root)
	if c.rights, err = c.userns.Of(c.Command, c.i386); err != nil {
		return err
	}
	if err := os.MkdirAll(c.files, 0o755); err != nil {
		return err
	}
	own := []sandbox.Mount{{Kind: sandbox.BindFile, Source: filepath.Join(c.files, "resolv.conf"), Target: sandbox.ResolvFile}}
	texts, modes := [][]byte{[]byte(c.Network.Resolv)}, []os.FileMode{0o644}
	if !c.Network.NoHosts {
		own = append(own, sandbox.Mount{Kind: sandbox.BindFile, Source: filepath.Join(c.files, "hosts"), Target: sandbox.HostsFile})
		texts, modes = append(texts, []byte(c.Network.Hosts+"127.0.1.1\t"+c.Hostname+"\n")), append(modes, 0o644)
	}
	if p := &c.Process; needsLauncher(p.Args, p.Env) {
		program, err := makeLauncher(root, p.Dir, p.Args, p.Env)
		if err != nil {
			return err
		}
		own = append(own, sandbox.Mount{Kind: sandbox.BindFile, Source: filepath.Join(c.files, "launcher"), Target: launcher, ReadOnly: true})
		texts, modes = append(texts, program), append(modes, 0o755)
		p.Args, p.Env = []string{launcher}, nil
	}
	// No process is started meanwhile, which would have the launcher open, so that it could not be executed.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	for i, m := range own {
		if err := os.WriteFile(m.Source, texts[i], modes[i]); err != nil {
			return err
		}
	}
	c.Mounts = append(own, c.Mounts...)
	return nil
}

// show gives a user namespace a path. libcontainer wants one, and it is one of a mount: its processes
// may not look into those outside of their Landlock domain by /proc.
func (c *container) show(users *os.File) (forget func(), err error) {
	c.users = filepath.Join(c.files, "users")
	if err := os.WriteFile(c.users, nil, 0o600); err != nil {
		return nil, err
	}
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", users.Fd()), c.users, "", unix.MS_BIND, ""); err != nil {
		return nil, &os.PathError{Op: "mount", Path: c.users, Err: err}
	}
	return func() { _ = unix.Unmount(c.users, unix.MNT_DETACH) }, nil
}

// run runs a command that is prepared.
func (c *container) run(ctx context.Context, stateDir string) (int, error) {
	config, err := c.config()
	if err != nil {
		return 0, err
	}
	container, err := libcontainer.Create(stateDir, c.id, config)
	if err != nil {
		return 0, fmt.Errorf("creating the container: %w", err)
	}
	defer func() { _ = container.Destroy() }()
	process := c.process(c.rights.Capabilities)
	if err := c.start(container, process); err != nil {
		return 0, startError(err)
	}
	// Not by the container's own method, which finds no process that the caller may not trace.
	first, err := firstProcess(process)
	if err != nil {
		return 0, err
	}
	defer first.Release()
	stop := context.AfterFunc(ctx, func() { _ = first.Kill() })
	defer stop()
	state, err := process.Wait()
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			return 0, fmt.Errorf("waiting for the command: %w", err)
		}
		state = exit.ProcessState
	}
	return exitCode(state), nil
}

func (c *container) process(bounding []string) *libcontainer.Process {
	p := &libcontainer.Process{
		Args: c.Process.Args, Env: c.Process.Env, Cwd: c.Process.Dir, Init: true,
		UID: c.Process.User.UID, GID: c.Process.User.GID, AdditionalGroups: c.Process.User.Groups,
		Capabilities: userCapabilities(c.Process.User, bounding),
	}
	if t := c.Stdio.Terminal; t != nil {
		p.ConsoleSocket, p.ConsoleHeight, p.ConsoleWidth = t.Socket, t.Rows, t.Columns
	} else {
		p.Stdin, p.Stdout, p.Stderr = c.Stdio.In, c.Stdio.Out, c.Stdio.Err
	}
	return p
}

// firstProcess is a handle on a container's first process that nobody has waited for yet. When
// that is killed, all in its PID namespace end.
func firstProcess(p *libcontainer.Process) (*os.Process, error) {
	pid, err := p.Pid()
	if err != nil {
		return nil, fmt.Errorf("the command's process: %w", err)
	}
	return os.FindProcess(pid)
}

// userCapabilities of a user other than root are only those it may gain by set-uid
// programs. None is inheritable (CVE-2022-29162).
func userCapabilities(u passwd.User, bounding []string) *configs.Capabilities {
	if u.UID != 0 {
		return &configs.Capabilities{Bounding: bounding}
	}
	return &configs.Capabilities{Bounding: bounding, Effective: bounding, Permitted: bounding}
}

func exitCode(state *os.ProcessState) int {
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return state.ExitCode()
}

// startError tells a command that cannot be executed from a sandbox that cannot be
// made. libcontainer reports both as text from its child; that of exec.LookPath names
// the command, which the caller knows.
func startError(err error) error {
	_, text, _ := strings.Cut(err.Error(), "exec: ")
	name, unnamed := strconv.QuotedPrefix(text)
	if unnamed != nil {
		return fmt.Errorf("starting the container: %w", err)
	}
	text = strings.TrimPrefix(text[len(name):], ": ")
	if strings.Contains(text, "executable file not found") || strings.Contains(text, "no such file or directory") {
		return &sandbox.StartError{Code: 127, Err: errors.New(text)}
	}
	return &sandbox.StartError{Code: 126, Err: errors.New(text)}
}
