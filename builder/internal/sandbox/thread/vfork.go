//go:build linux && (amd64 || arm64)

package thread

import "golang.org/x/sys/unix"

// forkFlags let a new process have this one's memory until it executes its program, so that what is
// mapped need not be copied: for a worker of 200 MB that would take twenty milliseconds.
const forkFlags = unix.CLONE_VM | unix.CLONE_VFORK

// vfork makes a process that returns 0.
//
//go:noescape
func vfork(flags uintptr) (pid, errno uintptr)
