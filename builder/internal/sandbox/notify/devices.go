//go:build linux && (amd64 || arm64)

package notify

import (
	"slices"

	"golang.org/x/sys/unix"
)

// isDevice says whether a clean path of the command's root stands for a device of the machine's.
func (s *Server) isDevice(name string) bool { return slices.Contains(s.Devices, name) }

// device answers a call about one.
func (t *thread) device(r *request, name string) error {
	if r.kind != opening {
		return t.state(r, unix.AT_FDCWD, name)
	}
	if r.flags&(unix.O_CREAT|unix.O_EXCL) == unix.O_CREAT|unix.O_EXCL {
		return unix.EEXIST
	}
	fd, err := unix.Open(name, r.flags&usable|always, 0)
	if err != nil {
		return err
	}
	return t.hand(r, fd)
}
