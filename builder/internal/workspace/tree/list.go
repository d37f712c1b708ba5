//go:build linux

package tree

import (
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// node is a file as it was when it was listed. A file that is another now has another state: the time
// of its last change, which nobody can set, is that of a change of any of it.
type node struct {
	name string
	state
	files []node // of a directory, in the order of their names
}

// state is what is compared of a file.
type state struct {
	ino        uint64
	born       unix.StatxTimestamp // of a directory, where the file system knows it
	mode       uint32
	uid, gid   uint32
	links      uint32
	rdev       uint64
	size       int64
	mtim, ctim unix.Timespec
}

func stateOf(st *unix.Stat_t) state {
	return state{ino: st.Ino, mode: st.Mode, uid: st.Uid, gid: st.Gid, links: uint32(st.Nlink), rdev: st.Rdev, size: st.Size, mtim: st.Mtim, ctim: st.Ctim}
}

// stat is the state as stat(2) gave it.
func (s *state) stat() unix.Stat_t {
	st := unix.Stat_t{Ino: s.ino, Mode: s.mode, Uid: s.uid, Gid: s.gid, Rdev: s.rdev, Size: s.size, Mtim: s.mtim, Ctim: s.ctim}
	put(&st.Nlink, s.links)
	return st
}

// put sets a field that has 64 bits on some machines, and 32 on others.
func put[T int32 | int64 | uint32 | uint64, V uint32 | int64](field *T, value V) { *field = T(value) }

func (s *state) kind() uint32 { return s.mode & unix.S_IFMT }
func (s *state) isDir() bool  { return s.kind() == unix.S_IFDIR }

// list lists the files below a directory, which is what it gives.
func list(dir *os.File) (*node, error) {
	top, err := reopen(dir)
	if err != nil {
		return nil, err
	}
	defer top.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(top.Fd()), &st); err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	n := &node{state: stateOf(&st)}
	return n, listBelow(n, int(top.Fd()))
}

// find gives the file at a path, or nil.
func (n *node) find(at string) *node {
	for part := range strings.SplitSeq(strings.Trim(at, "/"), "/") {
		i, ok := slices.BinarySearchFunc(n.files, part, func(f node, name string) int { return strings.Compare(f.name, name) })
		if !ok {
			return nil
		}
		n = &n.files[i]
	}
	return n
}

// latest is when a file below was changed last.
func (n *node) latest() unix.Timespec {
	last := n.ctim
	for i := range n.files {
		if c := n.files[i].latest(); later(c, last) {
			last = c
		}
	}
	return last
}

func later(a, b unix.Timespec) bool { return a.Sec > b.Sec || a.Sec == b.Sec && a.Nsec > b.Nsec }

// settle waits until a change gets another time than the last one in a list has: file systems count time
// in ticks, of some milliseconds as a rule. A change of clock, a file on the same one, shows what time it
// is there.
func settle(clock *os.File, last unix.Timespec) error {
	for {
		var st unix.Stat_t
		if err := clock.Chmod(0o600); err != nil {
			return err
		}
		if err := unix.Fstat(int(clock.Fd()), &st); err != nil {
			return &os.PathError{Op: "stat", Path: clock.Name(), Err: err}
		}
		// Time that was set back does not come to the same point again soon.
		if later(st.Ctim, last) || last.Sec > st.Ctim.Sec+2 {
			return nil
		}
		time.Sleep(time.Millisecond / 2)
	}
}
