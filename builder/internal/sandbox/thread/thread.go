//go:build linux && (amd64 || arm64)

// Package thread is the sandbox that oakum has of its own. It needs no cgo, and executes nothing of
// oakum's in a container: a thread of this process takes itself into new namespaces, makes all that a
// command sees there, and forks the process that executes the command. Between its fork and that,
// the process makes a list of system calls which was made before (program.go). The thread waits for the
// command and is then thrown away.
//
// It needs Linux 5.12 (mount_setattr), and every mount is made from and onto something that was opened
// before, without ever following a path of the root file system out of it, at a time when nothing foreign
// runs in the new namespaces.
package thread

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/rights"
	"github.com/oakum-build/oakum/builder/internal/sandbox"
	"github.com/oakum-build/oakum/builder/internal/sandbox/fill"
	"github.com/oakum-build/oakum/builder/internal/sandbox/notify"
)

// New makes a sandbox. It needs a directory, by an absolute path without links, and writes nothing to it.
func New(dir string) sandbox.Sandbox { return newThread(dir, namespaces) }

// NewShared makes one for a process that sees the /proc of another PID namespace than one that it could make,
// since no fresh one may be mounted: commands share its PID namespace and see that /proc, of which what is hidden
// from commands is hidden too. It makes this process the parent of those whose own have ended.
func NewShared(dir string) sandbox.Sandbox { return newThread(dir, sharedPIDs) }

// NewChroot makes one for where neither namespaces nor mounts are allowed: see chroot.go. Its directory must be
// on the file system of the commands' root file systems. It makes this process the parent of those whose own have
// ended, and one that others cannot look into.
func NewChroot(dir string) sandbox.Sandbox { return newThread(dir, onlyRoot) }

// apart is what a sandbox keeps commands apart by.
type apart int

const (
	namespaces apart = iota
	sharedPIDs       // but for that of PIDs
	onlyRoot
)

func newThread(dir string, by apart) *thread {
	t := &thread{dir: dir, chroot: by == onlyRoot, shared: by == sharedPIDs}
	t.machine = sync.OnceValues(t.look)
	return t
}

type thread struct {
	dir     string
	chroot  bool
	shared  bool                     // the PID namespace of this process
	machine func() (*machine, error) // found when the first command runs
	filters filters
}

// MountPoints is that of sandbox.Sandbox.
func (t *thread) MountPoints(c sandbox.Command) []string { return sandbox.MountPoints(c) }

// Fills is that of sandbox.Sandbox.
func (t *thread) Fills() bool { return t.chroot }

// Isolation is that of sandbox.Sandbox.
func (t *thread) Isolation() (sandbox.Isolation, error) {
	m, err := t.machine()
	if err != nil {
		return sandbox.Isolation{}, err
	}
	if t.chroot {
		return m.chrootIsolation()
	}
	r, err := m.users.Of(sandbox.Command{}, false)
	if err != nil {
		return sandbox.Isolation{}, err
	}
	own := []string{"ipc", "mnt", "pid", "uts"}
	var without []string
	if t.shared {
		own = []string{"ipc", "mnt", "uts"}
		without = []string{"a PID namespace: a command sees the processes of the container that oakum is in"}
	}
	if m.users.IsNew() {
		own = append(own, "user")
	}
	return sandbox.Isolation{
		Name: "thread", Namespaces: own, Without: without, Filter: "docker", Capabilities: r.Capabilities, Devices: slices.Clone(rights.Devices),
		Masked: r.Masked, ReadOnly: append(r.ReadOnly, "/sys"), Scoped: rights.Scopes(),
	}, nil
}

// asking is what answers what a command asks about /proc: nothing where the passage is nil.
type asking struct {
	passage *notify.Passage
	server  *notify.Server
	asked   *os.File // the root directory
}

// container is a command on its way.
type container struct {
	sandbox.Command
	*machine
	users     rights.UserNamespace
	namespace int // of the users, or -1 for that of this process
	rights    rights.Rights
	filter    []unix.SockFilter
	report    [2]int // a pipe by which the stub says why it cannot execute the command
	open      []int  // descriptors that are closed when the command's process has its own
	filling   *fill.Filling
	asking
	view
}

// Run is that of sandbox.Sandbox.
func (t *thread) Run(ctx context.Context, command sandbox.Command) (code int, err error) {
	if err := errors.Join(ctx.Err(), command.Check()); err != nil {
		return 0, err
	}
	m, err := t.machine()
	if err != nil {
		return 0, err
	}
	for pause := time.Millisecond; ; pause *= 2 {
		code, err = t.once(ctx, m, command)
		// A process that is just being started, by this one or another, may have a program open that was
		// written before, and is as quickly done with it. A path cannot be resolved inside the root file system while
		// somebody renames or mounts anything on the machine (openat2(2), EAGAIN).
		if !errors.Is(err, unix.ETXTBSY) && !errors.Is(err, unix.EAGAIN) || pause > longestPause || command.Stdio.Terminal != nil {
			return code, err
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// longestPause is the last before a program that is open for writing is given up.
const longestPause = 128 * time.Millisecond

// once runs a command, or fails to start it.
func (t *thread) once(ctx context.Context, m *machine, command sandbox.Command) (code int, err error) {
	c := &container{Command: command, machine: m, users: m.users.For(command), namespace: m.namespace}
	if command.Users != nil {
		c.namespace = int(command.Users.Fd())
	}
	possible := command.Mountable
	if t.chroot {
		possible = c.possible
	}
	if err := possible(); err != nil {
		return 0, err
	}
	if err := t.allow(c); err != nil {
		return 0, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for ever: the thread ends with this function
		code, err = c.run(ctx)
	}()
	<-done
	return code, err
}

// allow resolves what the command may do.
func (t *thread) allow(c *container) error {
	i386 := c.Root.I386
	if !i386 {
		root, err := os.Open(c.Root.Path)
		if err != nil {
			return err
		}
		i386 = rights.Has32Bit(root)
		root.Close()
	}
	var err error
	c.rights, c.filter, err = t.filters.of(c.users, c.Command, i386)
	if t.chroot {
		c.restrict()
	}
	return err
}

// run runs a command on this thread, which is then in namespaces that nobody else should be in.
func (c *container) run(ctx context.Context) (code int, err error) {
	defer c.close()
	if c.chroot != nil {
		if c.filling, err = fill.New(c.Root.Path, filepath.Join(c.dir, strconv.FormatInt(c.serial.Add(1), 10))); err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, c.filling.Close()) }()
		if err := c.ask(); err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, c.answered()) }()
	}
	if err := c.prepare(ctx); err != nil {
		return 0, lacking(err)
	}
	p, err := newProgram()
	if err != nil {
		return 0, err
	}
	defer p.close()
	if err := c.write(p); err != nil {
		return 0, err
	}
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	first, err := c.start(p)
	if err != nil {
		return 0, err
	}
	stop := context.AfterFunc(ctx, func() { _ = first.Kill() })
	defer stop()
	c.drop(c.report[1])
	failed := c.started(p)
	if failed == nil {
		if failed = c.answer(); failed != nil {
			_ = first.Kill() // nobody answers it
		}
	}
	state, err := c.wait(first)
	if err != nil {
		return 0, fmt.Errorf("waiting for the command: %w", err)
	}
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if failed != nil {
		return 0, failed
	}
	return status(state), nil
}

// start starts the command's first process.
func (c *container) start(p *program) (*os.Process, error) {
	pid, err := 0, error(nil)
	if c.reaper != nil {
		pid, err = c.reaper.Start(func() (int, error) { return p.start(0) })
	} else {
		pid, err = p.start(unix.CLONE_NEWPID)
	}
	if err != nil {
		return nil, err
	}
	// Nobody has waited for the process yet, so it is this one.
	first, err := os.FindProcess(pid)
	if err != nil {
		return nil, errors.Join(err, unix.Kill(pid, unix.SIGKILL))
	}
	return first, nil
}

// wait waits until no process of the command is left.
func (c *container) wait(first *os.Process) (*os.ProcessState, error) {
	c.close()
	if c.chroot != nil {
		state, err := first.Wait()
		return state, errors.Join(err, c.reaper.End(first.Pid))
	}
	// What is mounted for the command alone goes with its processes, and not with this thread.
	back := unix.Setns(c.self, unix.CLONE_NEWNS)
	state, err := first.Wait()
	if c.reaper != nil {
		err = errors.Join(err, c.reaper.End(first.Pid))
	}
	return state, errors.Join(err, back)
}

// lacking gives the error of what this machine cannot do what its owner can do about it.
func lacking(err error) error {
	var call *os.SyscallError
	switch {
	case errors.Is(err, unix.ENOSYS):
		return &sandbox.HostError{
			Missing: "keeping a command apart from the machine: " + err.Error(),
			Remedy:  "use Linux 5.12 or later, and in a container a system-call filter that knows fsopen, open_tree, move_mount and mount_setattr, or none",
		}
	case errors.As(err, &call) && call.Syscall == "unshare":
		return &sandbox.HostError{
			Missing: "keeping a command apart from the machine: " + err.Error(),
			Remedy:  "allow namespaces: sysctl user.max_mnt_namespaces, user.max_uts_namespaces and user.max_ipc_namespaces say how many there may be",
		}
	}
	return err
}

func (c *container) close() {
	for _, fd := range c.open {
		unix.Close(fd)
	}
	c.open = nil
}

// drop closes one of the descriptors at once.
func (c *container) drop(fd int) {
	unix.Close(fd)
	c.open = slices.DeleteFunc(c.open, func(other int) bool { return other == fd })
}

// status is that of a command that has ended.
func status(state *os.ProcessState) int {
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return state.ExitCode()
}
