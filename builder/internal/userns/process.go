// Package userns starts the worker: in namespaces of its own where the machine allows them, and else
// as a plain child, tied to the life of its parent. The worker is this program once more, or another
// one that links this package.
//
// Which Kind of worker there is, is found by starting it: each Kind that is refused gives a Fault, and
// the next one is tried, unless the program itself is to blame.
//
// The kernel makes the namespaces together with the process, for a Go program has several
// threads at its first instruction, and a process of several cannot enter a user namespace.
// For an ordinary user the parent then maps the subordinate ids of /etc/subuid and
// /etc/subgid with newuidmap and newgidmap, while the program starts; root without CAP_SYS_ADMIN, and
// who maps one id alone, writes the maps itself (user_namespaces(7)). The worker has no user id by
// then, and keeps the rights of its namespace as ambient capabilities. Once its ids are
// mapped it is root. For root with CAP_SYS_ADMIN no user namespace is made.
//
// With a worker in a PID namespace the kernel ends all that it has started. One that has none is started by a
// keeper, which does so (keeper.go).
//
// The two sides speak over a packet socket: 'G' to the worker when its ids are mapped, 'R'
// and the version of what it speaks back when it is ready, 'N' and a Fault when it can do nothing in
// its namespaces, 'S' when it refuses, since it has more rights than its parent.
package userns

import (
	"context"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// Options say what is started.
type Options struct {
	// Plain asks for a worker of that Kind.
	Plain bool
	// Program is the path of the program, or its name in PATH; "" is this one.
	Program string
	// Env is the worker's whole environment, beside what the namespaces need.
	Env []string
	// Version is that of what is spoken over Control. A worker that calls Ready with another
	// one is refused.
	Version string
	// Output, when not nil, receives what the worker writes to its standard output and error,
	// in a goroutine of its own. A worker whose output is not taken stands still. It is closed
	// when nothing more can come, also when Start fails.
	Output io.WriteCloser
}

// Kind is what a worker has of its own. Where a fresh /proc is refused, it has no PID namespace.
type Kind string

// The kinds, best first.
const (
	Root         Kind = "root" // mount and PID namespaces, in the user namespace of its parent, whose root it is
	rootShared   Kind = "root-shared"
	AllIDs       Kind = "user" // a user namespace too, in which all ids are mapped that the user may use
	allIDsShared Kind = "user-shared"
	OneID        Kind = "one" // a user namespace in which the user is root, and nobody else is there
	oneIDShared  Kind = "one-shared"
	Plain        Kind = "plain" // nothing
)

// kinds says of each kind whether it has a PID and a user namespace of its own, which kind is the
// same without the former, and what it is.
var kinds = map[Kind]struct {
	pids, users bool
	shared      Kind
	words       string
}{
	Root:         {pids: true, shared: rootShared, words: "root with mounts and processes of its own"},
	rootShared:   {words: "root with mounts of its own"},
	AllIDs:       {pids: true, users: true, shared: allIDsShared, words: "root of a user namespace with all ids that the user may use, with mounts and processes of its own"},
	allIDsShared: {users: true, words: "root of a user namespace with all ids that the user may use, with mounts of its own"},
	OneID:        {pids: true, users: true, shared: oneIDShared, words: "root of a user namespace with the id of the user alone, with mounts and processes of its own"},
	oneIDShared:  {users: true, words: "root of a user namespace with the id of the user alone, with mounts of its own"},
	Plain:        {words: "a process of the user, without namespaces"},
}

// Words say what a worker of the kind is.
func (k Kind) Words() string { return kinds[k].words }

func (k Kind) known() bool { _, is := kinds[k]; return is }

// ownPIDs says that a process is PID 1 of a PID namespace of its own, as a holder is.
func (k Kind) ownPIDs() bool { return kinds[k].pids || !k.known() }

// OwnUsers says that the user namespace is the worker's own.
func (k Kind) OwnUsers() bool { return kinds[k].users }

// AllIDs says that files can have other owners than the user.
func (k Kind) AllIDs() bool { return k != OneID && k != oneIDShared && k != Plain }

// SharesPIDs says that the worker has namespaces of its own, but for that of PIDs.
func (k Kind) SharesPIDs() bool { return k != Plain && !kinds[k].pids }

// Process is a running worker.
type Process struct {
	Kind Kind
	// Refused are the faults for which it is no better one, in the order in which they were met.
	Refused []Fault
	// Control is the parent's end of the socket pair; the child's is ControlFD.
	Control *os.File
	cmd     *exec.Cmd // the worker, or its keeper
	kept    bool
	words   words
	taken   chan bool     // whether it is the one that Start gives
	done    chan struct{} // closed when the process has ended
	read    chan struct{} // closed when all that it wrote was read
}

// Start starts the worker. It returns when the worker is in its namespaces and ready to
// be spoken with. A refusal by this machine, and a program that is no worker, is a *Fault;
// when ctx ends before, its error is given, and nothing is left.
func Start(ctx context.Context, opts Options) (*Process, error) {
	p, err := open(ctx, opts)
	if err != nil && opts.Output != nil {
		opts.Output.Close()
	}
	return p, err
}

// Kill ends the worker and everything that it has started, and waits for that.
func (p *Process) Kill() {
	p.Control.Close()
	p.end()
	<-p.done
}

// end kills the worker.
func (p *Process) end() {
	signal := syscall.SIGKILL
	if p.kept {
		signal = syscall.SIGTERM
	}
	_ = p.cmd.Process.Signal(signal)
}

// Done is closed when the worker has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Fault is a refusal by this machine, with its remedy.
type Fault struct {
	Lack         Lack // "" is what no kind of worker can do without
	Missing, Fix string
}

// Lack is what a machine refuses.
type Lack string

// What a worker can do without.
const (
	Namespaces Lack = "namespaces" // user, mount and PID namespaces
	IDs        Lack = "ids"        // more ids than one in a user namespace
	Mounts     Lack = "mounts"     // without which namespaces are of no use
	Proc       Lack = "proc"       // a /proc that shows a new PID namespace
)

func (f *Fault) Error() string { return f.Missing }
