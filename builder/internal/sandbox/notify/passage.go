//go:build linux && (amd64 || arm64)

package notify

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Passage is how the descriptor of a filter's listener comes from the process that sets the filter to this one.
// That process is one that may make system calls only, whose arguments are known before it is there. It
// makes these, once it may get no new privileges or has CAP_SYS_ADMIN, and calls none that the filter asks about
// before it executes another program:
//
//	seccomp(SECCOMP_SET_MODE_FILTER, Flags(), p.Program())
//	dup3(what seccomp gave, p.Number(), O_CLOEXEC)
//	sendmsg(p.Socket(), p.Message(), 0)
//
// A filter of the user's may refuse them and is set afterwards. A Passage is used once, by one goroutine.
type Passage struct {
	sockets [2]int
	program *unix.SockFprog
	message *message
}

// NewPassage makes a Passage. It must be closed.
func NewPassage() (*Passage, error) {
	p := &Passage{program: fprog(program())}
	var err error
	if p.sockets, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	p.message = newMessage(p.sockets[0])
	return p, nil
}

// Flags are those of the filter.
func Flags() uintptr { return unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | killable() }

// Program is what seccomp(2) takes. It is valid until Close, as Message and Socket are.
func (p *Passage) Program() uintptr { return address(p.program) }

// Message is what sendmsg(2) sends.
func (p *Passage) Message() uintptr { return address(&p.message.header) }

// Socket is where it is sent.
func (p *Passage) Socket() uintptr { return uintptr(p.sockets[1]) }

// Number is that by which the process must have the listener when it sends it: that of this process's end, which
// is of no use there.
func (p *Passage) Number() uintptr { return uintptr(p.sockets[0]) }

// Receive takes the listener from a process that has made the calls, or has failed and ended: it does not
// wait for it.
func (p *Passage) Receive() (*os.File, error) {
	var data [1]byte
	space := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(p.sockets[0], data[:], space, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("the listener of /proc did not arrive: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(space[:n])
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("the listener of /proc did not arrive: %w", errors.Join(err, os.ErrInvalid))
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("the listener of /proc did not arrive: %w", errors.Join(err, os.ErrInvalid))
	}
	return os.NewFile(uintptr(fds[0]), "seccomp listener"), nil
}

// Close closes it, in this process.
func (p *Passage) Close() error {
	runtime.KeepAlive(p)
	return errors.Join(unix.Close(p.sockets[0]), unix.Close(p.sockets[1]))
}
