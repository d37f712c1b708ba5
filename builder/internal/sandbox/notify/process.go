//go:build linux && (amd64 || arm64)

package notify

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// process is who asks.
type process struct {
	id string // its number; a thread has one of its own
	credentials
}

// credentials are what a thread may do.
type credentials struct {
	uids, gids           [3]int // real, effective, saved
	groups               []int
	permitted, effective uint64 // capabilities
}

func (c *credentials) equal(other *credentials) bool {
	return c.uids == other.uids && c.gids == other.gids && c.permitted == other.permitted && c.effective == other.effective &&
		slices.Equal(c.groups, other.groups)
}

// look reads what a thread is, by its name below /proc.
func (s *Server) look(thread string) (*process, error) {
	data, err := s.read(thread + "/status")
	if err != nil {
		return nil, err
	}
	p := &process{}
	for line := range bytes.Lines(data) {
		key, value, _ := strings.Cut(string(line), ":")
		fields := strings.Fields(value)
		switch {
		case key == "Tgid" && len(fields) == 1:
			p.id = fields[0]
		case key == "Uid" && len(fields) == 4:
			err = numbers(p.uids[:], fields)
		case key == "Gid" && len(fields) == 4:
			err = numbers(p.gids[:], fields)
		case key == "Groups":
			p.groups = make([]int, len(fields))
			err = numbers(p.groups, fields)
		case key == "CapPrm" && len(fields) == 1:
			p.permitted, err = strconv.ParseUint(fields[0], 16, 64)
		case key == "CapEff" && len(fields) == 1:
			p.effective, err = strconv.ParseUint(fields[0], 16, 64)
		}
		if err != nil {
			return nil, fmt.Errorf("/proc/%s/status: %w", thread, err)
		}
	}
	return p, nil
}

// numbers fills a list from the front of another.
func numbers(to []int, from []string) (err error) {
	for i := range to {
		if to[i], err = strconv.Atoi(from[i]); err != nil {
			return err
		}
	}
	return nil
}

// read reads a small file below /proc.
func (s *Server) read(name string) ([]byte, error) {
	fd, err := unix.Openat(int(s.proc.Fd()), name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/proc/" + name, Err: err}
	}
	defer unix.Close(fd)
	buffer := make([]byte, 4096) // a status has 1,500 bytes, and its groups are far in front
	n, err := unix.Read(fd, buffer)
	if err != nil {
		return nil, &os.PathError{Op: "read", Path: "/proc/" + name, Err: err}
	}
	return buffer[:n], nil
}

// take makes this thread, which has the credentials of another one, that of a user, for ever. No capability is added.
func (c *credentials) take(from *credentials) error {
	// Go's own functions would change all threads.
	call := func(number uintptr, args ...uintptr) error {
		var a [5]uintptr
		copy(a[:], args)
		if _, _, errno := unix.RawSyscall6(number, a[0], a[1], a[2], a[3], a[4], 0); errno != 0 {
			return errno
		}
		return nil
	}
	if !slices.Equal(c.groups, from.groups) {
		groups := make([]uint32, 0, len(c.groups)+1)
		for _, g := range c.groups {
			groups = append(groups, uint32(g))
		}
		if err := call(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(unsafe.SliceData(groups)))); err != nil {
			return err
		}
	}
	if err := call(unix.SYS_SETRESGID, uintptr(c.gids[0]), uintptr(c.gids[1]), uintptr(c.gids[2])); err != nil {
		return err
	}
	if err := call(unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1); err != nil {
		return err
	}
	if err := call(unix.SYS_SETRESUID, uintptr(c.uids[0]), uintptr(c.uids[1]), uintptr(c.uids[2])); err != nil {
		return err
	}
	permitted := c.permitted & from.permitted
	effective := c.effective & permitted
	sets := [2]unix.CapUserData{
		{Effective: uint32(effective), Permitted: uint32(permitted)},
		{Effective: uint32(effective >> 32), Permitted: uint32(permitted >> 32)},
	}
	return unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &sets[0])
}

// of gives the thread that has the rights of another process's, or nil.
func (t *thread) of(c *credentials) *thread {
	if t.rights.equal(c) {
		return t
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, other := range t.threads {
		if other.rights.equal(c) {
			return other
		}
	}
	if len(t.threads) >= maxThreads {
		return nil
	}
	return t.newThread(c)
}
