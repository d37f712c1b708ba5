//go:build linux

// Package openat2 opens paths by openat2(2).
package openat2

import (
	"errors"

	"golang.org/x/sys/unix"
)

// tries take some milliseconds, of which a path that can be resolved needs some microseconds of peace.
const tries = 1 << 12

// Open opens a path below a directory. Of a path with ".." in it, or in a link on its way, the kernel cannot tell that it
// stays inside while anything is renamed or mounted on the machine, and gives up: EAGAIN, see openat2(2). That is
// tried again.
func Open(dir int, name string, how *unix.OpenHow) (fd int, err error) {
	for range tries {
		fd, err = unix.Openat2(dir, name, how)
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			break
		}
	}
	return fd, err
}
