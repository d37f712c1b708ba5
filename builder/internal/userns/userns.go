//go:build linux

package userns

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/procfs"
)

// SyncFD and ControlFD are where the worker finds its sockets.
const (
	SyncFD    = 3
	ControlFD = 4
)

// workerArg is the name that a worker is started with.
const workerArg = "oakum-worker"

// start starts the process, with the parent's end of the socket of the handshake.
func start(program string, opts Options, kind Kind) (*Process, *os.File, error) {
	var files []*os.File // the child's
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	output, theirs, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	files = append(files, theirs)
	var ours [2]*os.File
	for i := range ours {
		if ours[i], theirs, err = socketpair(); err != nil {
			break
		}
		files = append(files, theirs)
	}
	p := &Process{Control: ours[1], words: words{to: opts.Output}, taken: make(chan bool, 1), done: make(chan struct{}), read: make(chan struct{})}
	if err == nil {
		err = startFault(p.launchKept(p.command(program, opts, kind, files), program, kind), opts)
	}
	if err != nil {
		output.Close()
		for _, f := range ours {
			f.Close() // nil is no harm
		}
		return nil, nil, err
	}
	go p.readOutput(output)
	return p, ours[0], nil
}

// command is how the worker is started, whose files are its output and its sockets.
func (p *Process) command(program string, opts Options, kind Kind, files []*os.File) *exec.Cmd {
	cmd := exec.Command(program)
	cmd.Args = []string{workerArg}
	cmd.Env = append(opts.Env, kind.env()...)
	cmd.Stdout, cmd.Stderr = files[0], files[0]
	cmd.ExtraFiles = files[1:]
	cmd.SysProcAttr = kind.namespaces()
	return cmd
}

// What a keeper is started with, beside the worker's own files.
const (
	keeperArg = "oakum-keeper"
	children  = "/proc/thread-self/children"
	programFD = ControlFD + 1
	keeperFD  = ControlFD + 2
)

// launchKept launches a worker. One that has no PID namespace gets a keeper, where there can be one: without, what
// the worker has started survives it when it is killed. That is so where /proc has other numbers than those by which
// a keeper would kill.
func (p *Process) launchKept(cmd *exec.Cmd, program string, kind Kind) error {
	p.cmd = cmd
	if kinds[kind].pids || !procfs.Own() {
		return p.launch()
	}
	code, err := openKeeper()
	if err != nil {
		return p.launch()
	}
	defer code.Close()
	file, err := os.OpenFile(program, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	if program == self { // which for the keeper would be the keeper
		program = descriptor(programFD)
	}
	kept, attr := *cmd, *cmd.SysProcAttr
	attr.Pdeathsig = syscall.SIGTERM
	kept.Path, kept.SysProcAttr = descriptor(keeperFD), &attr
	kept.Args = append([]string{keeperArg, children, program}, cmd.Args...)
	kept.ExtraFiles = append(slices.Clone(cmd.ExtraFiles), file, code)
	p.cmd, p.kept = &kept, true
	if p.launch() == nil {
		return nil
	}
	p.cmd, p.kept = cmd, false // nothing can be executed from memory here, or the worker cannot be started either
	return p.launch()
}

func descriptor(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// namespaces is how the process is made. One without a PID namespace is not killed with its parent, for what
// it has started would survive it: that is left to its keeper, and without one it ends when the socket does.
func (k Kind) namespaces() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setsid: true}
	if kinds[k].pids {
		attr.Pdeathsig = syscall.SIGKILL
		attr.Cloneflags |= syscall.CLONE_NEWPID
	}
	if k != Plain {
		attr.Cloneflags |= syscall.CLONE_NEWNS
	}
	if !kinds[k].users {
		return attr
	}
	attr.Cloneflags |= syscall.CLONE_NEWUSER
	// Go's package syscall lets a child share the parent's memory until it executes its
	// program, but not one that may have to wait for id maps. Ours does not: without this the
	// kernel would copy the page tables of a program that may use gigabytes.
	attr.Cloneflags |= syscall.CLONE_VM | syscall.CLONE_VFORK
	// Who is not root loses all other capabilities when it executes a program. The set that a
	// new user namespace may have is full, so that this counts those that the kernel knows.
	for c := uintptr(0); ; c++ {
		if _, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0); err != nil {
			return attr
		}
		attr.AmbientCaps = append(attr.AmbientCaps, c)
	}
}

func (k Kind) env() []string {
	env := []string{envMode + "=" + string(k)}
	if !kinds[k].users {
		return env
	}
	// These are what containers/storage and containers/image go by.
	return append(env,
		"_CONTAINERS_USERNS_CONFIGURED=done",
		"_CONTAINERS_ROOTLESS_UID="+strconv.Itoa(os.Geteuid()),
		"_CONTAINERS_ROOTLESS_GID="+strconv.Itoa(os.Getegid()))
}

// launch starts and waits on one thread that lives as long as the child, for the
// kernel sends the death signal when the starting thread ends (golang/go#27505).
func (p *Process) launch() error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait()
			close(p.done)
		}
	}()
	return <-started
}

// readOutput reads what the worker writes until nobody can write any more. The output of all is closed
// with the worker that was taken.
func (p *Process) readOutput(from *os.File) {
	defer close(p.read)
	defer from.Close()
	_, _ = io.Copy(&p.words, from)
	if <-p.taken && p.words.to != nil {
		p.words.to.Close()
	}
}

func socketpair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), "worker"), os.NewFile(uintptr(fds[1]), "parent"), nil
}

// handshake has the worker's ids mapped and waits until it is ready.
func handshake(sync *os.File, pid int, maps idMaps, opts Options) error {
	if maps != nil {
		if err := maps.write(pid); err != nil {
			return err
		}
	}
	_, _ = sync.Write([]byte{'G'})
	var b [maxMessage]byte
	n, err := sync.Read(b[:])
	if errors.Is(err, unix.ECONNRESET) { // who has not read that may have said something
		n, err = sync.Read(b[:])
	}
	switch {
	case n > 0 && b[0] == 'S':
		return &answer{privileged(opts.Program)}
	case n == 5 && b[0] == 'E':
		return &answer{startFault(syscall.Errno(binary.NativeEndian.Uint32(b[1:])), opts)}
	case n > 0 && b[0] == 'N':
		var fault Fault
		if err := json.Unmarshal(b[1:n], &fault); err != nil {
			return fmt.Errorf("%w: %w", errOdd, err)
		}
		return &answer{&fault}
	case n > 0 && b[0] == 'R':
		if version := string(b[1:n]); version != opts.Version {
			return &answer{otherVersion(opts, version)}
		}
		return nil
	case n > 0:
		return fmt.Errorf("%w: it said %q", errOdd, b[:n])
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, unix.ECONNRESET):
		return fmt.Errorf("waiting for the worker: %w", err)
	}
	return errEnded
}

// maxMessage bounds what the worker says in the handshake.
const maxMessage = 4 << 10

// hasCapability says whether this process may use a capability.
func hasCapability(c int) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&header, &data[0]) == nil && data[c/32].Effective&(1<<(c%32)) != 0
}
