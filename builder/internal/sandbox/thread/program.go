//go:build linux && (amd64 || arm64)

package thread

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// program is what a command's first process does between its fork and its execution: a list of
// system calls, with all that they need in memory. The process has one thread of a Go program that
// has many, so nothing of the runtime works in it: no allocation, no lock, no growing stack. All
// thinking is done before, and all explaining after.
type program struct {
	calls  []call
	stages []string // what each call is for
	// results are of the calls that keep theirs: descriptors.
	results [slots]uintptr
	// outcome is memory that both processes have.
	outcome []byte
	failed  *failure
	keep    []any // what the calls' arguments point to
	all     [8]byte
	before  [8]byte // the signals that were blocked
	nowhere *uintptr
	waited  int           // how often a file was waited for
	pause   unix.Timespec // that one waits
}

// failure is what went wrong in the new process.
type failure struct {
	call  uint32 // its number, counted from one
	errno uint32
}

// call is a system call.
type call struct {
	number uintptr
	args   [6]uintptr
	// slot is that of the result whose value is the argument at, if slot is not 0.
	slot, at int
	into     int        // where the result is kept, if not 0
	ignore   [2]uintptr // errors that do not matter
	skip     int        // how many calls are then passed over
	busy     bool       // a file that is open for writing is waited for
}

// mostWaits is how often a file that is open for writing is waited for, a millisecond each.
const mostWaits = 1000

// Slots of results.
const (
	procMount = iota + 1
	scratch
	listener
	slots
)

func newProgram() (*program, error) {
	memory, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	p := &program{outcome: memory, failed: (*failure)(unsafe.Pointer(&memory[0])), pause: unix.NsecToTimespec(1e6)}
	for i := range p.all {
		p.all[i] = math.MaxUint8
	}
	return p, nil
}

func (p *program) close() error { return unix.Munmap(p.outcome) }

// add adds a call, and gives it to be changed before the next one is added.
func (p *program) add(stage string, number uintptr, args ...uintptr) *call {
	c := call{number: number}
	copy(c.args[:], args)
	p.calls, p.stages = append(p.calls, c), append(p.stages, stage)
	return &p.calls[len(p.calls)-1]
}

// text is the address of a text that ends with a NUL.
func (p *program) text(s string) uintptr { return p.bytes(append([]byte(s), 0)) }

func (p *program) bytes(b []byte) uintptr {
	p.keep = append(p.keep, b)
	return uintptr(unsafe.Pointer(&b[0]))
}

// texts is the address of a list of texts that ends with a nil, as execve wants them.
func (p *program) texts(list []string) uintptr {
	addresses := make([]uintptr, 0, len(list)+1)
	for _, s := range list {
		addresses = append(addresses, p.text(s))
	}
	return p.words(append(addresses, 0))
}

func (p *program) words(list []uintptr) uintptr {
	p.keep = append(p.keep, list)
	return uintptr(unsafe.Pointer(&list[0]))
}

// value is the address of a copy of a value that has no pointers in it.
func value[T any](p *program, v T) uintptr {
	kept := new(T)
	*kept = v
	p.keep = append(p.keep, kept)
	return uintptr(unsafe.Pointer(kept))
}

// start starts the process, with namespaces of its own by flags, and gives its number once it executes
// its program. It must be called on a thread that stays until the process has ended.
func (p *program) start(flags uintptr) (pid int, err error) {
	id, errno := fork(p, flags|forkFlags|uintptr(unix.SIGCHLD))
	runtime.KeepAlive(p)
	if errno != 0 {
		return 0, os.NewSyscallError("clone", syscall.Errno(errno))
	}
	return int(id), nil
}

// error is that of a process that could not do what it was to do.
func (p *program) error() error {
	if p.failed.call == 0 {
		return nil
	}
	return fmt.Errorf("%s: %w", p.stages[p.failed.call-1], syscall.Errno(p.failed.errno))
}

// fork blocks all signals, so that no handler of the runtime's runs in the new process, forks, and
// lets that process go its way.
//
//go:noinline
//go:nosplit
//go:norace
func fork(p *program, flags uintptr) (pid, errno uintptr) {
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&p.all)), uintptr(unsafe.Pointer(&p.before)), unsafe.Sizeof(p.all), 0, 0)
	pid, errno = vfork(flags)
	if pid == 0 && errno == 0 {
		child(p)
	}
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&p.before)), 0, unsafe.Sizeof(p.all), 0, 0)
	return pid, errno
}

// child makes the calls. It never returns.
//
//go:noinline
//go:nosplit
//go:norace
func child(p *program) {
	for i := 0; i < len(p.calls); i++ {
		c := &p.calls[i]
		if c.slot != 0 {
			c.args[c.at] = p.results[c.slot]
		}
		result, _, errno := syscall.RawSyscall6(c.number, c.args[0], c.args[1], c.args[2], c.args[3], c.args[4], c.args[5])
		switch {
		case errno == 0:
			p.results[c.into] = result
			continue
		case uintptr(errno) == c.ignore[0] || uintptr(errno) == c.ignore[1]:
			i += c.skip
			continue
		case c.busy && errno == syscall.ETXTBSY && p.waited < mostWaits:
			p.waited++
			syscall.RawSyscall6(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&p.pause)), 0, 0, 0, 0, 0)
			i--
			continue
		}
		p.failed.errno = uint32(errno)
		p.failed.call = uint32(i + 1)
		break
	}
	for {
		syscall.RawSyscall6(unix.SYS_EXIT_GROUP, 126, 0, 0, 0, 0, 0)
		*p.nowhere = 0 // a filter may refuse the call, but not the signal for this
	}
}
