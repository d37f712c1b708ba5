//go:build linux

package sandbox

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"unsafe"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// filter is Docker's system-call filter. With i386 it lets 32-bit programs run on x86-64.
func filter(spec *specs.Spec, i386 bool) (*specs.LinuxSeccomp, error) {
	profile, err := seccomp.GetDefaultProfile(spec)
	if err != nil {
		return nil, fmt.Errorf("seccomp profile: %w", err)
	}
	// The rules are compiled for each architecture and command: for i386 that takes three
	// times as long as for x86-64 alone. The x32 ABI is off in distributions' kernels.
	profile.Architectures = slices.DeleteFunc(profile.Architectures, func(a specs.Arch) bool {
		return a == specs.ArchX32 || a == specs.ArchX86 && !i386
	})
	return profile, nil
}

// loaders are the dynamic linkers of 32-bit programs on x86.
var loaders = []string{"/lib/ld-linux.so.2", "/lib/ld-musl-i386.so.1"}

// Has32Bit says whether a root file system can run 32-bit programs of x86: it has a
// dynamic linker for them.
func Has32Bit(root *os.File) bool {
	for _, name := range loaders {
		fd, err := unix.Openat2(int(root.Fd()), name, &unix.OpenHow{
			Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
		})
		if err == nil {
			unix.Close(fd)
			return true
		}
	}
	return false
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
