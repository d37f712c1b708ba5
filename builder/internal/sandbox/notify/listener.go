//go:build linux && (amd64 || arm64)

package notify

import (
	"errors"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// notification is struct seccomp_notif: a call that waits for an answer.
type notification struct {
	id     uint64
	thread uint32 // that makes it, by this process's PID namespace
	_      uint32 // flags
	number int32
	_      uint32 // the architecture, which the filter has looked at
	_      uint64 // the instruction
	args   [6]uint64
}

// response is struct seccomp_notif_resp.
type response struct {
	id    uint64
	value int64
	errno int32 // negative
	flags uint32
}

// addition is struct seccomp_notif_addfd.
type addition struct {
	id       uint64
	_        uint32 // flags
	fd       uint32 // here
	newFD    uint32
	newFlags uint32
}

// killable is the flag of filters whose calls, once they were told of, are ended by deadly signals alone, and
// not by those that the process handles: a Go program gets many. Linux has it since 5.19.
var killable = sync.OnceValue(func() uintptr {
	const flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	// It looks at the flags before it reads the program, which is nowhere.
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, 0)
	if errno == unix.EFAULT {
		return unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	}
	return 0
})

// listener is the descriptor of a filter's listener.
type listener struct{ fd int }

// ioctl is the call with one of SECCOMP_IOCTL_NOTIF's requests.
func ioctl[T any](l listener, request uintptr, argument *T) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(l.fd), request, uintptr(unsafe.Pointer(argument)))
	return errno
}

// lasting is ioctl for requests that wait for nobody but for the filter's lock, in which a signal may interrupt them.
func lasting[T any](l listener, request uintptr, argument *T) unix.Errno {
	for {
		if errno := ioctl(l, request, argument); errno != unix.EINTR {
			return errno
		}
	}
}

// quicken lets who asks and who answers be awake in turns, on one processor, since Linux 6.6.
func (l listener) quicken() {
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(l.fd), unix.SECCOMP_IOCTL_NOTIF_SET_FLAGS, unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
}

// receive waits for a call. It gives os.ErrProcessDone when no process is left that could make one, or
// stop can be read from.
func (l listener) receive(n *notification, stop int) error {
	for {
		waits := [2]unix.PollFd{{Fd: int32(l.fd), Events: unix.POLLIN}, {Fd: int32(stop), Events: unix.POLLIN}}
		_, err := unix.Poll(waits[:], -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return os.NewSyscallError("poll", err)
		}
		if waits[1].Revents != 0 {
			return os.ErrProcessDone
		}
		if waits[0].Revents&unix.POLLIN == 0 {
			if waits[0].Revents&(unix.POLLHUP|unix.POLLNVAL) != 0 {
				return os.ErrProcessDone
			}
			continue // POLLERR alone: a signal came while the kernel waited for the filter's lock
		}
		*n = notification{} // as the kernel wants it
		switch errno := ioctl(l, unix.SECCOMP_IOCTL_NOTIF_RECV, n); errno {
		case 0:
			return nil
		case unix.EINTR, unix.ENOENT: // the process is gone
		default:
			return os.NewSyscallError("ioctl", errno)
		}
	}
}

// valid says whether a call still waits, so that what was found out by the number of its thread is that
// thread's.
func (l listener) valid(n *notification) bool {
	id := n.id
	return lasting(l, unix.SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0
}

// Whoever does not wait any more needs no answer.

// pass lets the kernel make the call.
func (l listener) pass(n *notification) {
	lasting(l, unix.SECCOMP_IOCTL_NOTIF_SEND, &response{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE})
}

func (l listener) fail(n *notification, errno unix.Errno) {
	lasting(l, unix.SECCOMP_IOCTL_NOTIF_SEND, &response{id: n.id, errno: -int32(errno)})
}

func (l listener) value(n *notification, value int) {
	lasting(l, unix.SECCOMP_IOCTL_NOTIF_SEND, &response{id: n.id, value: int64(value)})
}

// give gives the process a copy of a descriptor, by a number that is what its call returns.
//
// These are two calls, though since Linux 5.14 SECCOMP_ADDFD_FLAG_SEND makes them one: that one marks the call as
// answered before the process takes the descriptor. When a signal interrupts it in between, such as those by which Go
// preempts threads, the descriptor is taken back and the process goes on with the answer 0, its standard input.
func (l listener) give(n *notification, fd int, closeOnExec bool) error {
	a := addition{id: n.id, fd: uint32(fd)}
	if closeOnExec {
		a.newFlags = unix.O_CLOEXEC
	}
	for {
		number, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(l.fd), unix.SECCOMP_IOCTL_NOTIF_ADDFD, uintptr(unsafe.Pointer(&a)))
		switch errno {
		case 0:
			l.value(n, int(number))
			return nil
		case unix.ENOENT: // the process is gone
			return nil
		case unix.EINTR:
		default:
			return errno
		}
	}
}
