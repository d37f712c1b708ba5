//go:build linux

package userns

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/procfs"
)

// envMode is set for a worker alone, to what its Kind is called, and for a holder.
const (
	envMode   = "_OAKUM_WORKER"
	EnvHolder = envMode + "=holder"
)

// EnvHelper is set in a worker for the helpers that libraries start from it.
const EnvHelper = "_OAKUM_WORKER_CHILD"

// Role is what a process was started as.
type Role int

// The roles. A process that has none is what it would be without this package.
const (
	Program Role = iota
	Worker       // of the Kind that Started says
	Holder       // of a user namespace that a worker wants to have
	Helper
)

// holder is what envMode says for one.
const holder = "holder"

// Started is what kind of worker this process was started as, before Judge forgets it.
func Started() Kind { return Kind(os.Getenv(envMode)) }

// roleOf is the role that envMode asks for.
func roleOf(mode string) Role {
	switch {
	case mode == holder:
		return Holder
	case Kind(mode).known():
		return Worker
	}
	return Program
}

// Awaited counts the packages of this program that bring something for the worker and have not been
// initialised. The last enters the worker, which the worker's own init is to leave to it. The packages below
// awaited add to it, and worker.Arrived takes from it.
var Awaited int

// Judge says what this process was started as, and which variables of its environment are to
// be taken out of it.
//
// Variables make a program a worker or a helper, and whoever starts a program chooses them,
// also when it has other rights than the starter. So they count only where the kernel itself
// tells that they come from the user whose rights this process has, and never in a program
// that is set-uid, set-gid or has file capabilities:
//
// A worker is PID 1 of its PID namespace, unless its Kind has none. Its parent, which may be another
// program, cannot be seen from there; but its sockets were made outside of the namespace by the user
// that the worker is. Those of a worker without a PID namespace were made by its parent, or that of its keeper, as that
// user. A user can make this program a worker only with rights that they have anyway. The
// same goes for a holder, whose sockets are made by the worker.
//
// A helper's parent is this very program, run by the same user.
func Judge() (role Role, forget []string) {
	mode, helper := os.Getenv(envMode), os.Getenv(EnvHelper)
	if mode == "" && helper == "" {
		return Program, nil
	}
	secure := secure() || setID()
	switch {
	case roleOf(mode) != Program && Kind(mode).ownPIDs() == (os.Getpid() == 1) && ownUsers(SyncFD) && ownUsers(ControlFD):
		if !secure {
			return roleOf(mode), []string{envMode}
		}
		_ = unix.Send(SyncFD, []byte{'S'}, unix.MSG_NOSIGNAL)
	case helper != "" && mode == "" && !secure && ownParent():
		return Helper, nil
	}
	return Program, []string{envMode, EnvHelper}
}

// setID says whether this is a set-uid or set-gid program, or one started by it: its ids
// differ. The parent may map a worker's ids between two of the questions, the users' once and
// the groups' once, so it is only true of what differs each of three times.
func setID() bool {
	for range 3 {
		if os.Getuid() == os.Geteuid() && os.Getgid() == os.Getegid() {
			return false
		}
	}
	return true
}

// ownUsers says whether a descriptor is one end of a pair of packet sockets that the user
// whom we are made, where our parent is: outside of the PID namespace of which we are PID 1, or else as
// that parent or, through a keeper, as the parent of that.
func ownUsers(fd int) bool {
	domain, err1 := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	kind, err2 := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err1 != nil || err2 != nil || domain != unix.AF_UNIX || kind != unix.SOCK_SEQPACKET {
		return false
	}
	for {
		uid := os.Geteuid()
		peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			return false
		}
		if uid == os.Geteuid() { // else it was mapped meanwhile
			return fromAbove(int(peer.Pid)) && (peer.Pid != 0 || os.Getpid() == 1) && int(peer.Uid) == uid
		}
	}
}

// fromAbove says whether a process is our parent, or the parent of that: of a keeper.
func fromAbove(pid int) bool {
	parent := os.Getppid()
	if pid == parent || parent == 0 {
		return pid == parent
	}
	number, err := procfs.Parent()
	if err != nil {
		return false
	}
	above, err := procfs.ParentOf(number)
	if err != nil {
		return false
	}
	known, err := procfs.PID(above)
	return err == nil && known == pid
}

// ownParent says whether our parent is this very program, run by the user that we are.
func ownParent() bool {
	number, err := procfs.Parent()
	if err != nil || number == 0 {
		return false
	}
	parent := "/proc/" + strconv.Itoa(number)
	exe, err1 := os.Stat(self)
	other, err2 := os.Stat(parent + "/exe")
	dir, err3 := os.Stat(parent)
	if err1 != nil || err2 != nil || err3 != nil || !os.SameFile(exe, other) {
		return false
	}
	owner, ok := dir.Sys().(*syscall.Stat_t)
	return ok && int(owner.Uid) == os.Geteuid()
}

// Ready waits, in the worker, until its ids are mapped, has it enter what it needs of its namespaces, and
// tells the parent the version of what it speaks, or the fault that keeps it from working there; then
// the process is to end, which the error says. It closes the socket of the handshake.
func Ready(version string, kind Kind, enter func() *Fault) error {
	unix.CloseOnExec(SyncFD)
	unix.CloseOnExec(ControlFD)
	f := os.NewFile(SyncFD, "sync")
	defer f.Close()
	var b [1]byte
	if n, err := f.Read(b[:]); n != 1 || b[0] != 'G' {
		return fmt.Errorf("the parent did not map the ids: %w", err)
	}
	// Before, all users looked the same.
	if kind != Plain && os.Geteuid() != 0 || !ownUsers(SyncFD) || !ownUsers(ControlFD) {
		return errors.New("this worker was started by another user than it is")
	}
	// A program that its user may not read hides its process: /proc/self would belong to an
	// id outside of the namespace.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	if fault := enter(); fault != nil {
		text, err := json.Marshal(fault)
		if err == nil {
			_, err = f.Write(append([]byte{'N'}, text...))
		}
		return errors.Join(fault, err)
	}
	_, err := f.Write(append([]byte{'R'}, version...))
	return err
}
