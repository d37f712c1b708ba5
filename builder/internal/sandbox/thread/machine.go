//go:build linux && (amd64 || arm64)

package thread

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/passwd"
	"github.com/oakum-build/oakum/builder/internal/rights"
	"github.com/oakum-build/oakum/builder/internal/sandbox"
	"github.com/oakum-build/oakum/builder/internal/sandbox/reaper"
	"github.com/oakum-build/oakum/builder/internal/sandbox/thread/filter"
)

// machine is what is the same for all commands. Its descriptors are open as long as the process lives.
type machine struct {
	users rights.UserNamespace
	// namespace is the new user namespace of all commands, or -1. What keeps them apart are their
	// other namespaces, of which none is owned by this one.
	namespace int
	self      int         // the mount namespace of this process
	scope     int         // the rules of Landlock, or -1
	stub      int         // the program that executes commands
	openFiles unix.Rlimit // the limit of them
	lastCap   int
	setgroups bool
	ttyGroup  bool           // group 5 is mapped
	kcore     bool           // there is a /proc/kcore
	dir       string         // one over which commands mount what is their own, in their namespaces
	reaper    *reaper.Reaper // nil where commands have a PID namespace
	*chroot                  // nil where commands have namespaces
}

// look finds out about the machine.
func (t *thread) look() (*machine, error) {
	m := &machine{namespace: -1, scope: -1, dir: t.dir}
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return nil, err
	}
	special := m.lookForNamespaces
	if t.chroot {
		special = m.lookForChroot
	}
	err := special()
	if err == nil && t.shared {
		_, err = m.reap()
	}
	if err != nil {
		return nil, err
	}
	if m.scope, err = rights.ScopeRules(); err != nil {
		return nil, err
	}
	for m.lastCap < 63 {
		if _, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(m.lastCap+1), 0, 0, 0); err != nil {
			break
		}
		m.lastCap++
	}
	setgroups, _ := os.ReadFile("/proc/self/setgroups")
	m.setgroups = strings.TrimSpace(string(setgroups)) != "deny"
	_, gids, err := passwd.OwnIDs()
	if err != nil {
		return nil, err
	}
	m.ttyGroup = gids.Has(5)
	_, err = os.Stat("/proc/kcore")
	m.kcore = err == nil
	return m, m.borrow()
}

// reap has the processes that commands leave ended by this one, whose status it gives.
func (m *machine) reap() ([]byte, error) {
	// For a moment, a process of a command has the memory of this one, and a user who is another
	// command's, too, and could look into it.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return nil, os.NewSyscallError("prctl", err)
	}
	own, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return nil, err
	}
	mounts, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return nil, err
	}
	m.reaper, err = reaper.New(func(number int) bool { return restricted(own, mounts, number) })
	return own, err
}

// lookForNamespaces finds what commands with namespaces need.
func (m *machine) lookForNamespaces() (err error) {
	if m.users, err = rights.NewUserNamespace(); err != nil {
		return err
	}
	if m.self, err = unix.Open("/proc/self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return &os.PathError{Op: "open", Path: "/proc/self/ns/mnt", Err: err}
	}
	m.stub, err = openStub(m.dir)
	return err
}

// borrow learns from a process that is stopped before it executes anything the limit of open files that
// this one was given, which Go raises for itself alone and does not tell, and takes its user namespace
// where commands are to have a new one.
func (m *machine) borrow() (err error) {
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &m.openFiles); err != nil {
		return os.NewSyscallError("getrlimit", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // only the thread that traces a process may wait for it
		defer runtime.UnlockOSThread()
		err = m.borrowFrom()
	}()
	<-done
	if err != nil && !m.users.IsNew() {
		return nil // where nothing can be traced, commands have the limit that this process has
	}
	return err
}

func (m *machine) borrowFrom() error {
	sys := &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}
	if m.users.IsNew() {
		sys.Cloneflags, sys.GidMappingsEnableSetgroups = syscall.CLONE_NEWUSER, true
		sys.UidMappings, sys.GidMappings = m.users.Mappings()
	}
	pid, err := syscall.ForkExec("/proc/self/exe", []string{"oakum"}, &syscall.ProcAttr{Sys: sys})
	if err != nil {
		return &sandbox.HostError{Missing: "stopping a process to learn from it: " + err.Error(), Remedy: "allow ptrace and user namespaces"}
	}
	defer func() {
		_ = unix.Kill(pid, unix.SIGKILL)
		_, _ = unix.Wait4(pid, nil, unix.WALL, nil)
	}()
	var ws unix.WaitStatus
	if _, err := unix.Wait4(pid, &ws, unix.WALL, nil); err != nil || !ws.Stopped() {
		return fmt.Errorf("a process that was to stop did not: %w", errors.Join(err, os.ErrProcessDone))
	}
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &m.openFiles); err != nil {
		return os.NewSyscallError("prlimit", err)
	}
	if !m.users.IsNew() {
		return nil
	}
	name := fmt.Sprintf("/proc/%d/ns/user", pid)
	if m.namespace, err = unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return &os.PathError{Op: "open", Path: name, Err: err}
	}
	return nil
}

// filters are the programs of the system-call filters that were asked for, with the rights that they
// belong to: most commands have the same.
type filters struct {
	mu    sync.Mutex
	known map[string]filtered
}

type filtered struct {
	rights  rights.Rights
	program filter.Program
}

// maxFilters bounds what is kept.
const maxFilters = 64

func (f *filters) of(u rights.UserNamespace, c sandbox.Command, i386 bool) (rights.Rights, filter.Program, error) {
	key := fmt.Sprintf("%#v %#v %v %v", c.Security, c.Limits, i386, u.IsNew())
	f.mu.Lock()
	defer f.mu.Unlock()
	if known, is := f.known[key]; is {
		return known.rights, known.program, nil
	}
	r, err := u.Of(c, i386)
	if err != nil {
		return r, nil, err
	}
	made := filtered{rights: r}
	if r.Filter != nil {
		if made.program, err = filter.Compile(r.Filter); err != nil {
			return r, nil, err
		}
	}
	if f.known == nil || len(f.known) >= maxFilters {
		f.known = map[string]filtered{}
	}
	f.known[key] = made
	return r, made.program, nil
}
