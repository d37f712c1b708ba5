//go:build linux

// Package wholefiletest shows whether files are written to the disk before they take the place of others, for tests.
package wholefiletest

import (
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// WithoutSync calls do where no file can be synced: each attempt fails with EIO. do must not end the test, and what it
// has other goroutines do is not seen.
func WithoutSync(t testing.TB, do func()) {
	t.Helper()
	filtered := make(chan error)
	go func() {
		defer close(filtered)
		runtime.LockOSThread() // for good, so that the thread ends with the filter
		if err := failSyncs(); err != nil {
			filtered <- err
			return
		}
		do()
	}()
	if err := <-filtered; err != nil {
		t.Skipf("system calls cannot be filtered: %v", err)
	}
}

// failSyncs lets the calls by which this thread syncs a file fail.
func failSyncs() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the number of the call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 2, K: unix.SYS_FSYNC},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: unix.SYS_FDATASYNC},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EIO)},
	}
	filter := &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(filter))); errno != 0 {
		return errno
	}
	return nil
}
