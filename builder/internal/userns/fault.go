//go:build linux

package userns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// errEnded says that the worker is gone before it was ready; explain says more.
var errEnded = errors.New("the worker ended before it was ready")

// errOdd says that it has said what no worker says.
var errOdd = errors.New("the worker does not speak as one")

// answer is a fault that the worker, or its keeper, has told itself. How it ends then says nothing more.
type answer struct{ fault error }

func (a *answer) Error() string { return a.fault.Error() }
func (a *answer) Unwrap() error { return a.fault }

// self is this program.
const self = "/proc/self/exe"

// program finds what is to be started. It refuses programs whose worker could have more
// rights than who starts it, and those that were to be a worker themselves.
func (o Options) program() (string, error) {
	if os.Args[0] == workerArg {
		return "", &Fault{Missing: "this program was started as a worker, and is none", Fix: "start it under its own name"}
	}
	if os.Getuid() != os.Geteuid() || os.Getgid() != os.Getegid() || secure() && hasRights(self) {
		return "", privileged("")
	}
	if o.Program != "" {
		path, err := exec.LookPath(o.Program)
		if err != nil {
			return "", &Fault{Missing: "the program that is to be the worker cannot be started: " + err.Error(),
				Fix: "name an executable file of this machine that links package builder, such as the command oakum"}
		}
		return path, nil
	}
	if _, err := os.Stat(self); err != nil {
		return "", &Fault{Missing: "the program cannot be started again: " + err.Error(), Fix: "mount /proc"}
	}
	return self, nil
}

// secure says whether this process has more rights than who started it, or another security
// domain (getauxval(3), AT_SECURE).
func secure() bool {
	const atSecure = 23
	entries, err := unix.Auxv()
	for _, entry := range entries {
		if entry[0] == atSecure {
			return entry[1] != 0
		}
	}
	return err != nil
}

// hasRights says whether a program gives more rights than who starts it has.
func hasRights(path string) bool {
	info, err := os.Stat(path)
	if err != nil || info.Mode()&(os.ModeSetuid|os.ModeSetgid) != 0 {
		return true
	}
	_, err = unix.Getxattr(path, "security.capability", nil)
	return err == nil
}

// privileged is the refusal of a program whose environment cannot be believed; "" is this
// one.
func privileged(program string) *Fault {
	if program == "" {
		program = "this program"
	}
	return &Fault{
		Missing: program + " has more rights than the user who started it (set-uid, set-gid or file capabilities), so it cannot start a worker or be one",
		Fix:     "build in a program without them, or let such a program start one",
	}
}

// otherVersion is the refusal of a worker of another version.
func otherVersion(o Options, version string) *Fault {
	name := o.Program
	if name == "" {
		name = "this program, started again,"
	}
	return &Fault{
		Missing: fmt.Sprintf("the worker and the program that started it are of different versions of package builder: %s speaks version %q of their protocol, this program version %q", name, version, o.Version),
		Fix:     "build both with the same version of github.com/oakum-build/oakum",
	}
}

// startFault says why a process could not be started in its namespaces.
func startFault(err error, o Options) error {
	var errno syscall.Errno
	if err == nil || !errors.As(err, &errno) {
		return err
	}
	if o.Program != "" && (errno == unix.ENOEXEC || errno == unix.ENOENT) {
		return &Fault{Missing: fmt.Sprintf("%s cannot be started as the worker: %v", o.Program, errno),
			Fix: "name an executable file of this machine that links package builder, such as the command oakum"}
	}
	if fix := namespaceFix(errno, ofMachine); fix != "" {
		return &Fault{Lack: Namespaces, Missing: fmt.Sprintf("creating user, mount and PID namespaces: %v", errno), Fix: fix}
	}
	return fmt.Errorf("starting the worker: %w", err)
}

// explain gives the reason why a worker, which has been killed, was not ready: what
// happened first is what counts.
func (p *Process) explain(ctx context.Context, err error, o Options) error {
	<-p.read
	said := p.words.String()
	if said != "" {
		said = "; it wrote:\n" + said
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%w before the worker was ready%s", ctx.Err(), said)
	}
	status, killed := p.cmd.ProcessState, false
	if ws, ok := status.Sys().(syscall.WaitStatus); ok {
		killed = ws.Signaled() && ws.Signal() == syscall.SIGKILL
	}
	fault := &Fault{Missing: fmt.Sprintf("%v (%v)%s", errEnded, status, said)}
	switch {
	case errors.Is(err, errOdd):
		fault.Missing = err.Error() + said
	case errors.As(err, new(*answer)), killed && !errors.Is(err, errEnded):
		return err // it was ended because of it
	}
	if o.Program == "" {
		fault.Fix = "the worker is this program, started again: no init function of its packages may end it or wait for something, or name another program as the worker (builder.Options.Worker)"
	} else {
		fault.Fix = "name a program as the worker that links package builder, such as the command oakum; " + o.Program + " may be none"
	}
	return fault
}
