//go:build linux && (amd64 || arm64)

package notify

import (
	"bytes"
	"fmt"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pathMax is that of the longest path, with the NUL at its end.
const pathMax = unix.PathMax

// most names are shorter
const usual = 128

const page = 4096 // or a multiple of it, which may be read in pieces

// copyName copies a text that ends with a NUL from a process's memory. It is valid until the next one.
func (t *thread) copyName(n *notification, from uint64) ([]byte, error) {
	done := 0
	for size := usual; ; size = pathMax {
		got, err := t.copy(n, from+uint64(done), t.memory[done:size])
		if err != nil {
			return nil, err
		}
		if i := bytes.IndexByte(t.memory[done:done+got], 0); i >= 0 {
			return t.memory[:done+i], nil
		}
		if done += got; done < size {
			return nil, unix.EFAULT
		}
		if size == pathMax {
			return nil, unix.ENAMETOOLONG
		}
	}
}

// copy copies memory of a process, and less than what was asked for when there is no more.
func (t *thread) copy(n *notification, from uint64, to []byte) (int, error) {
	// A piece of what is asked for is copied whole or not at all, so none goes over the end of a page.
	first := min(len(to), page-int(from%page))
	t.local[0] = unix.Iovec{Base: &to[0], Len: uint64(len(to))}
	remote := append(t.remote[:0], unix.RemoteIovec{Base: uintptr(from), Len: first})
	if first < len(to) {
		remote = append(remote, unix.RemoteIovec{Base: uintptr(from) + uintptr(first), Len: len(to) - first})
	}
	return unix.ProcessVMReadv(int(n.thread), t.local[:], remote, 0)
}

// store writes to the memory of a process.
func (t *thread) store(n *notification, at uint64, data []byte) error {
	name := strconv.Itoa(int(n.thread)) + "/mem"
	fd, err := unix.Openat(int(t.proc.Fd()), name, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if !t.listener.valid(n) { // then it may be another process's
		return unix.ESRCH
	}
	written, err := unix.Pwrite(fd, data, int64(at))
	if err != nil || written < len(data) {
		return unix.EFAULT
	}
	return nil
}

// raw are the bytes of a value that has no pointers in it.
func raw[T any](v *T) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v)) }

// descriptor is the name of one of this process's own.
func descriptor(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }
