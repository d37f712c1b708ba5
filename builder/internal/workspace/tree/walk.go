//go:build linux

package tree

import (
	"bytes"
	"encoding/binary"
	"os"
	"path"
	"runtime"
	"slices"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// lister lists several directories at a time. Of a root file system nearly all the time goes into asking
// for the state of its files, one after the other, so nothing is done beside that which is done for
// each: names are read in large pieces, and a directory has two pieces of memory, of its names and of its nodes.
type lister struct {
	jobs    chan job // directories that wait for somebody who is idle
	pending sync.WaitGroup

	mu  sync.Mutex
	err error
}

// job is a directory to list, open until it has been.
type job struct {
	node *node
	fd   int
	at   string
}

// maxReaders is how many list at a time at most: they wait for the same locks of the kernel.
const maxReaders = 8

// listBelow lists what is below an open directory.
func listBelow(n *node, fd int) error {
	beside := min(runtime.GOMAXPROCS(0), maxReaders) - 1
	l := &lister{jobs: make(chan job, 4*beside)}
	var group sync.WaitGroup
	for range beside {
		group.Go(func() {
			w := newReader(l)
			for j := range l.jobs {
				w.job(j)
			}
		})
	}
	w := newReader(l)
	w.files(job{n, fd, ""})
	w.help()
	l.pending.Wait()
	close(l.jobs)
	group.Wait()
	return l.err
}

func (l *lister) fail(op, at string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = &os.PathError{Op: op, Path: "/" + at, Err: err}
	}
}

// reader lists one directory at a time. What it has is used again for each.
type reader struct {
	*lister
	buffer []byte
	block  []byte // the names of a directory, with a zero after each
	names  []string
	st     unix.Statx_t
}

const readSize = 64 << 10

func newReader(l *lister) *reader { return &reader{lister: l, buffer: make([]byte, readSize)} }

// help lists what waits for somebody.
func (r *reader) help() {
	for {
		select {
		case j := <-r.jobs:
			r.job(j)
		default:
			return
		}
	}
}

func (r *reader) job(j job) {
	defer r.pending.Done()
	defer unix.Close(j.fd)
	r.files(j)
}

// files lists what is in a directory.
func (r *reader) files(j job) {
	if err := r.readNames(j.fd); err != nil {
		r.fail("readdir", j.at, err)
		return
	}
	files := make([]node, len(r.names))
	for i, name := range r.names {
		if err := r.state(j.fd, name, &files[i].state); err != nil {
			r.fail("statx", path.Join(j.at, name), err)
			return
		}
		files[i].name = name
	}
	j.node.files = files
	for i := range files {
		if files[i].isDir() {
			r.directory(&files[i], j)
		}
	}
}

// readNames reads the names in a directory. They lie in one piece of memory, each with a zero behind it.
func (r *reader) readNames(fd int) error {
	r.block, r.names = r.block[:0], r.names[:0]
	for {
		n, err := unix.Getdents(fd, r.buffer)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		r.block = appendNames(r.block, r.buffer[:n])
	}
	for all := string(r.block); all != ""; {
		end := len(all[:bytes.IndexByte(unsafe.Slice(unsafe.StringData(all), len(all)), 0)])
		r.names = append(r.names, all[:end])
		all = all[end+1:]
	}
	slices.Sort(r.names)
	return nil
}

// appendNames appends the names of entries as getdents64(2) gives them: two numbers of 64 bits, the length of the entry, a byte of the
// type, and the name with a zero behind it.
func appendNames(names, entries []byte) []byte {
	const length, name = 16, 19
	for len(entries) > name {
		size := int(binary.NativeEndian.Uint16(entries[length:]))
		text := entries[name:size]
		text = text[:bytes.IndexByte(text, 0)+1]
		if s := string(text); s != ".\x00" && s != "..\x00" {
			names = append(names, text...)
		}
		entries = entries[size:]
	}
	return names
}

// state asks for the state of a file. Its name has a zero behind it.
func (r *reader) state(fd int, name string, s *state) error {
	st := &r.st
	_, _, errno := unix.Syscall6(unix.SYS_STATX, uintptr(fd), uintptr(unsafe.Pointer(unsafe.StringData(name))), unix.AT_SYMLINK_NOFOLLOW,
		unix.STATX_BASIC_STATS|unix.STATX_BTIME, uintptr(unsafe.Pointer(st)), 0)
	if errno != 0 {
		return errno
	}
	*s = state{
		ino: st.Ino, mode: uint32(st.Mode), uid: st.Uid, gid: st.Gid, links: st.Nlink, rdev: unix.Mkdev(st.Rdev_major, st.Rdev_minor), size: int64(st.Size),
		mtim: timespec(st.Mtime), ctim: timespec(st.Ctime),
	}
	if s.isDir() && st.Mask&unix.STATX_BTIME != 0 {
		s.born = st.Btime
	}
	return nil
}

func timespec(t unix.StatxTimestamp) (ts unix.Timespec) {
	put(&ts.Sec, t.Sec)
	put(&ts.Nsec, t.Nsec)
	return ts
}

// directory lists a directory that is in another one, or leaves it to somebody who is idle.
func (r *reader) directory(n *node, in job) {
	at := path.Join(in.at, n.name)
	fd, err := unix.Openat(in.fd, n.name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		r.fail("open", at, err)
		return
	}
	r.pending.Add(1)
	select {
	case r.jobs <- job{n, fd, at}:
	default:
		r.job(job{n, fd, at})
	}
}
