//go:build linux && (amd64 || arm64)

package notify

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// kind is what a call wants to know of a name.
type kind int

const (
	opening kind = iota
	opening2
	status
	statusx
	access
	reading    // of a link
	attributes // of which no file of /proc has any
	fileSystem
)

// form is how a call has its arguments: at which place each is. Place none is none.
type form struct {
	number uintptr
	kind   kind
	// dir is the directory that a relative name is below, without which it is the process's own.
	dir, name, flags int
	// fixed are flags of a call that has no argument for them.
	fixed int
	// rest is of what the call is for: the mode of access, or where the answer goes. size is that of the place
	// for a link, that of what flags points to, or which answers statx(2) is to give.
	rest, size int
}

const none = -1

// offsets in struct seccomp_data (seccomp(2)). Both machines are little-endian.
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArgs   = 16
)

// program lets all calls through but those that may be about /proc, which wait for an answer. A
// process that makes calls of another architecture than the machine's has no /proc.
//
// Calls that are about no name are let through, as are those which make a file that must not be there,
// and those by which the state of a file below an open directory is found: what lies in the directories that
// a command is given is of the right kind. These are most calls of programs that walk through a tree.
func program() []unix.SockFilter {
	const ask, allow = unix.SECCOMP_RET_USER_NOTIF, unix.SECCOMP_RET_ALLOW
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	result := func(action uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
	}
	test := func(how uint16, k uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | how, K: k, Jt: yes, Jf: no}
	}
	out := []unix.SockFilter{
		load(offsetArch), test(unix.BPF_JEQ, nativeArch, 1, 0), result(allow),
		load(offsetNumber),
	}
	for _, f := range forms {
		var code []unix.SockFilter
		if f.dir != none && f.kind != opening && f.kind != opening2 {
			code = append(code, load(offsetArgs+8*uint32(f.dir)), test(unix.BPF_JEQ, ^uint32(-unix.AT_FDCWD-1), 1, 0), result(allow))
		}
		switch {
		case f.flags == none:
		case f.kind == opening:
			const new = unix.O_CREAT | unix.O_EXCL
			code = append(code, load(offsetArgs+8*uint32(f.flags)),
				unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: new}, test(unix.BPF_JEQ, new, 0, 1), result(allow))
		case f.kind == status, f.kind == statusx:
			code = append(code, load(offsetArgs+8*uint32(f.flags)), test(unix.BPF_JSET, unix.AT_EMPTY_PATH, 0, 1), result(allow))
		}
		code = append(code, result(ask))
		out = append(out, test(unix.BPF_JEQ, uint32(f.number), 0, uint8(len(code))))
		out = append(out, code...)
	}
	return append(out, result(allow))
}

// message is what sendmsg(2) takes to send one descriptor.
type message struct {
	header unix.Msghdr
	iov    unix.Iovec
	data   [1]byte
	rights []byte
}

func newMessage(fd int) *message {
	m := &message{rights: unix.UnixRights(fd)}
	m.iov.Base = &m.data[0]
	m.iov.SetLen(len(m.data))
	m.header.Iov = &m.iov
	m.header.SetIovlen(1)
	m.header.Control = &m.rights[0]
	m.header.SetControllen(len(m.rights))
	return m
}

// fprog is what seccomp(2) takes.
func fprog(code []unix.SockFilter) *unix.SockFprog {
	return &unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
}

// address is that of something that stays where it is, as an argument of a call.
func address[T any](p *T) uintptr { return uintptr(unsafe.Pointer(p)) }
