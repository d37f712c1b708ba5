//go:build linux && cgo

package oci

import (
	"fmt"
	"runtime"
	"unsafe"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/rights"
)

// start starts a container's first process from a thread that is then thrown away, because the network
// namespace that a thread is in, and what it may no longer do, hold for the processes that it starts.
func (c *container) start(container *libcontainer.Container, process *libcontainer.Process) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for ever
		var err error
		if c.Network.Namespace != nil {
			err = join(c.Network.Namespace)
		}
		if err == nil {
			err = rights.Scope()
		}
		if err == nil && c.i386 && c.rights.Filter != nil {
			err = i386Sockets()
		}
		if err == nil {
			err = container.Run(process)
		}
		done <- err
	}()
	return <-done
}

// i386Sockets refuses to make sockets by i386's socketcall, for this thread and all that
// it starts. Docker's filter lets it through, since no filter sees the arguments, which
// are in memory: it would lead to the hypervisor (AF_VSOCK) and to the kernel's ciphers
// (AF_ALG, CVE-2026-31431). The system calls that do one thing each stay.
func i386Sockets() error {
	const nr, arch, arg = 0, 4, 16    // offsets in struct seccomp_data, little-endian
	const socketcall, socket = 102, 1 // their numbers (asm/unistd_32.h, linux/net.h)
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	unless := func(k uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jf: skip}
	}
	program := []unix.SockFilter{
		load(arch), unless(unix.AUDIT_ARCH_I386, 5),
		load(nr), unless(socketcall, 3),
		load(arg), unless(socket, 1),
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0)
	runtime.KeepAlive(program)
	if err != nil {
		return fmt.Errorf("filtering socketcall: %w", err)
	}
	return nil
}
