//go:build linux && cgo

// Package nsenter starts this binary again as the worker: as PID 1 of new user,
// mount and PID namespaces, tied to the life of its parent.
//
// The namespaces are entered by a C constructor (nsenter.c) before the Go runtime
// starts. For an ordinary user the parent maps the subordinate ids of /etc/subuid
// and /etc/subgid with newuidmap and newgidmap; for root with CAP_SYS_ADMIN no user
// namespace is made.
package nsenter

// #cgo CFLAGS: -Wall
import "C"

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"

	"go.podman.io/storage/pkg/unshare"
	"golang.org/x/sys/unix"
)

// syncFD and ControlFD are where the worker finds its sockets; nsenter.c knows the
// first too.
const (
	syncFD    = 3
	ControlFD = 4
)

// EnvMode is set for a worker process alone: "user" or "root". It counts only with two
// sockets from the parent; nsenter.c takes it out of the environment otherwise.
const EnvMode = "_OAKUM_WORKER"

// EnvChild is set in a worker for the helpers that libraries start from it. nsenter.c
// takes it out of the environment of a process whose parent is not this program.
const EnvChild = "_OAKUM_WORKER_CHILD"

// workerArg is the name that a worker is started with.
const workerArg = "oakum-worker"

// Fault is a refusal by this machine, with its remedy.
type Fault struct{ Missing, Fix string }

func (f *Fault) Error() string { return f.Missing }

// Process is a running worker.
type Process struct {
	// Control is the parent's end of the socket pair; the child's is ControlFD.
	Control *os.File
	Stderr  io.ReadCloser
	cmd     *exec.Cmd
	done    chan struct{}
}

// Start starts the worker with env as its whole environment, beside what the
// namespaces need. It returns when the worker is in its namespaces.
func Start(ctx context.Context, env []string) (*Process, error) {
	if err := ownParent(); err != nil {
		return nil, err
	}
	rootless := os.Geteuid() != 0
	if !rootless && !hasSysAdmin() {
		return nil, &Fault{Missing: "running as root without CAP_SYS_ADMIN: namespaces cannot be made",
			Fix: "run oakum as an ordinary user, or give the container CAP_SYS_ADMIN"}
	}
	var maps *idMaps
	if rootless {
		var err error
		if maps, err = userMaps(); err != nil {
			return nil, err
		}
	}
	sync, childSync, err := socketpair(unix.SOCK_SEQPACKET)
	if err != nil {
		return nil, err
	}
	defer sync.Close()
	defer childSync.Close()
	control, childControl, err := socketpair(unix.SOCK_SEQPACKET)
	if err != nil {
		return nil, err
	}
	defer childControl.Close()
	p := &Process{Control: control, done: make(chan struct{})}
	p.cmd = exec.Command("/proc/self/exe")
	p.cmd.Args = []string{workerArg}
	p.cmd.Env = append(env, modeEnv(rootless)...)
	p.cmd.ExtraFiles = []*os.File{childSync, childControl}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if p.Stderr, err = p.cmd.StderrPipe(); err == nil {
		err = p.launch()
	}
	if err != nil {
		control.Close()
		return nil, fmt.Errorf("starting the worker: %w", err)
	}
	childSync.Close()
	stop := context.AfterFunc(ctx, func() { _ = p.cmd.Process.Kill() })
	defer stop()
	if err := handshake(sync, p.cmd.Process.Pid, maps); err != nil {
		p.Kill()
		return nil, errors.Join(ctx.Err(), err)
	}
	return p, nil
}

// privileged is the refusal of a program whose environment cannot be believed.
func privileged() *Fault {
	return &Fault{
		Missing: "this program has more rights than the user who started it (set-uid, set-gid or file capabilities), so it cannot start a worker",
		Fix:     "build in a program without them, or let such a program start one",
	}
}

// ownParent refuses to start this program as a worker where the new process would not
// believe that it is one, and would do the program's own work once more.
func ownParent() error {
	if os.Args[0] == workerArg {
		return &Fault{Missing: "the kernel does not show the worker the process that started it", Fix: "start oakum in the PID namespace that its children are in"}
	}
	info, err := os.Stat("/proc/self/exe")
	if err != nil {
		return &Fault{Missing: "the program cannot be started again: " + err.Error(), Fix: "mount /proc"}
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if ok && info.Mode()&os.ModeSetuid != 0 && int(st.Uid) != os.Geteuid() {
		return privileged()
	}
	return nil
}

func modeEnv(rootless bool) []string {
	if !rootless {
		return []string{EnvMode + "=root"}
	}
	// The last three are what containers/storage and containers/image go by.
	return []string{
		EnvMode + "=user",
		"_CONTAINERS_USERNS_CONFIGURED=done",
		"_CONTAINERS_ROOTLESS_UID=" + strconv.Itoa(os.Geteuid()),
		"_CONTAINERS_ROOTLESS_GID=" + strconv.Itoa(os.Getegid()),
	}
}

// launch starts and waits on one thread that lives as long as the child, for the
// kernel sends the death signal when the starting thread ends (golang/go#27505).
func (p *Process) launch() error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		// Not cmd.Wait: that would close Stderr under its reader.
		_, _ = p.cmd.Process.Wait()
		close(p.done)
	}()
	return <-started
}

// Kill ends the worker and everything in its PID namespace, and waits for that.
func (p *Process) Kill() {
	p.Control.Close()
	_ = p.cmd.Process.Kill()
	<-p.done
	p.Stderr.Close()
}

// Done is closed when the worker has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

func socketpair(kind int) (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), "worker"), os.NewFile(uintptr(fds[1]), "parent"), nil
}

func handshake(sync *os.File, pid int, maps *idMaps) error {
	if maps != nil {
		if err := expect(sync, 'U'); err != nil {
			return err
		}
		if err := maps.write(pid); err != nil {
			return err
		}
	}
	if err := expect(sync, 'P'); err != nil {
		return err
	}
	if _, err := sync.Write([]byte{'G'}); err != nil {
		return fmt.Errorf("the worker died while its id maps were written: %w", err)
	}
	return nil
}

// Ready waits, in the worker, until its ids are mapped. It closes the socket to the
// parent's handshake.
func Ready() error {
	unix.CloseOnExec(syncFD)
	f := os.NewFile(syncFD, "sync")
	defer f.Close()
	var b [1]byte
	if n, err := f.Read(b[:]); n != 1 || b[0] != 'G' {
		return fmt.Errorf("the parent did not map the ids: %w", err)
	}
	return nil
}

var stageNames = map[byte]string{
	'u': "creating a user namespace",
	'n': "creating mount and PID namespaces", 'p': "tying the worker to its parent", 'f': "forking",
}

func expect(sync *os.File, want byte) error {
	var b [3]byte
	n, err := sync.Read(b[:])
	switch {
	case n == 1 && b[0] == want:
		return nil
	case n == 3 && b[0] == 'E':
		errno := syscall.Errno(b[2])
		if b[1] == 's' {
			return privileged()
		}
		return &Fault{
			Missing: fmt.Sprintf("%s: %v", stageNames[b[1]], errno),
			Fix:     namespaceFix(errno),
		}
	case err != nil && err != io.EOF:
		return fmt.Errorf("waiting for the worker: %w", err)
	}
	return errors.New("the worker ended before it was ready")
}

func namespaceFix(errno syscall.Errno) string {
	switch errno {
	case syscall.ENOSPC:
		return "raise the sysctl user.max_user_namespaces"
	case syscall.EPERM, syscall.EACCES:
		return "allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1, " +
			"kernel.apparmor_restrict_unprivileged_userns=0, or the container's seccomp profile)"
	}
	return ""
}

func hasSysAdmin() bool {
	ok, err := unshare.HasCapSysAdmin()
	return err == nil && ok
}
