//go:build linux && (amd64 || arm64)

package notify

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/procfs"
)

// Trial says why commands of this process can have no /proc by this package, or nil when they can. It tries that with
// a process of this program, which it ends before it does anything.
func Trial() error {
	if !procfs.Own() {
		return errors.New("the /proc that is here is that of another PID namespace: its processes have other numbers")
	}
	ended, end, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ended.Close()
	started := make(chan trial)
	go func() {
		// For ever: the filter is that of the thread, too.
		runtime.LockOSThread()
		one := startTrial()
		started <- one
		if one.err == nil {
			_, _ = unix.Wait4(one.pid, nil, 0, nil)
		}
		end.Close()
	}()
	one := <-started
	if one.err != nil {
		return one.err
	}
	defer unix.Close(one.fd)
	defer func() {
		_ = unix.Kill(one.pid, unix.SIGKILL)
		_, _ = ended.Read(make([]byte, 1)) // or it would be left to others, when this process ends now
	}()
	return one.run(int(ended.Fd()))
}

// trial is a process with a filter.
type trial struct {
	listener
	pid int
	err error
}

func startTrial() trial {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return trial{err: os.NewSyscallError("prctl", err)}
	}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, Flags(), address(fprog(program())))
	if errno != 0 {
		return trial{err: fmt.Errorf("a filter of system calls that tells of them: %w", os.NewSyscallError("seccomp", errno))}
	}
	pid, err := syscall.ForkExec("/proc/self/exe", []string{"oakum"}, &syscall.ProcAttr{})
	if err != nil {
		unix.Close(int(fd))
		return trial{err: err}
	}
	return trial{listener: listener{int(fd)}, pid: pid}
}

// run waits for the first file that the process opens, as every program does, and answers.
func (one trial) run(ended int) error {
	var n notification
	for {
		if err := one.receive(&n, ended); err != nil {
			return fmt.Errorf("a process asked for nothing: %w", err)
		}
		if f := formOf(&n); f != nil && f.kind == opening && int(n.thread) == one.pid {
			break
		}
		one.pass(&n)
	}
	t := &thread{}
	name, err := t.copyName(&n, n.args[formOf(&n).name])
	if err != nil {
		return fmt.Errorf("reading the memory of a process of the same user: %w", os.NewSyscallError("process_vm_readv", err))
	}
	if !one.valid(&n) || len(name) == 0 {
		return fmt.Errorf("a process that waits for an answer does not: %w", os.ErrProcessDone)
	}
	if err := one.give(&n, ended, true); err != nil {
		return fmt.Errorf("giving a process a file: %w", errors.Join(os.NewSyscallError("ioctl", err)))
	}
	return nil
}
