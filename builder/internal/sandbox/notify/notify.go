//go:build linux && (amd64 || arm64)

// Package notify gives commands a /proc where nothing can be mounted, files that are in memory alone, and devices where
// no nodes can be made.
//
// A filter of system calls (seccomp(2), SECCOMP_RET_USER_NOTIF) lets the calls of a command that may be
// about a name below /proc wait for this process, which answers them with what it finds in its own /proc about the
// process that asks, and lets the kernel make all others. The filter of anybody may do that, in
// containers too.
//
// It is a convenience and no boundary: a command sees and changes nothing by it that it could not by
// itself if it had a /proc. A call is answered by a thread that has the ids and capabilities of the one that
// asks, names are copied before they are judged, and of other processes only those are there that
// have the command's root. A directory below /proc is one that is made in the command's root, of names alone, so
// that nothing leads from it out of there.
//
// What it cannot do: execute /proc/self/exe, make a directory below /proc that was not listed before the
// current one, and show /proc to programs of another architecture than the machine's.
package notify

import (
	"errors"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// Options say what is answered.
type Options struct {
	// Root is the root directory of the command. Its /proc is an empty directory of the command's own, to
	// which the Server writes.
	Root *os.File
	// Masked are paths below /proc that are not there for the command, and ReadOnly those that it cannot
	// change.
	Masked, ReadOnly []string
	Secrets          []Secret
	// Devices are names of the command's root, without links, that stand for the machine's devices of the same names:
	// such as /dev/null, and none whose opening may wait. There are files of the command's own, which programs see
	// that are not answered.
	Devices []string
}

// Server answers the calls of one command.
type Server struct {
	Options
	listener listener
	self     credentials // of this process
	file     *os.File    // the listener
	proc     *os.File    // of this process
	own      *os.Root    // that of the command
	path     string      // the root directory, as links of /proc have it
	root     unix.Stat_t
	stop     [2]int // a pipe
	mu       sync.Mutex
	threads  []*thread
	running  sync.WaitGroup
	listing  sync.Mutex
	mounts   mounts
}

// maxThreads is how many different users' processes a command may have that are answered.
const maxThreads = 64

// Serve answers until Close. The listener is the Server's from now on, whatever it returns; Root is the caller's
// until Close.
func Serve(l *os.File, o Options) (*Server, error) {
	s := &Server{Options: o, file: l, listener: listener{int(l.Fd())}, stop: [2]int{-1, -1}}
	if err := s.open(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.listener.quicken()
	first := s.newThread(&s.self)
	first.baton <- nil
	return s, nil
}

func (s *Server) open() (err error) {
	if err := unix.Pipe2(s.stop[:], unix.O_CLOEXEC); err != nil {
		return os.NewSyscallError("pipe2", err)
	}
	if err := unix.Fstat(int(s.Root.Fd()), &s.root); err != nil {
		return &os.PathError{Op: "stat", Path: s.Root.Name(), Err: err}
	}
	if s.path, err = os.Readlink(descriptor(int(s.Root.Fd()))); err != nil {
		return err
	}
	if s.proc, err = os.Open("/proc"); err != nil {
		return err
	}
	who, err := s.look("thread-self")
	if err != nil {
		return err
	}
	s.self = who.credentials
	return s.makeProc()
}

// Close ends the Server. It is called when no process of the command is left: the calls of one that
// were would fail.
func (s *Server) Close() error {
	_, err := unix.Write(s.stop[1], []byte{0})
	s.running.Wait()
	return errors.Join(os.NewSyscallError("write", err), s.mounts.tables.close(), s.close())
}

func (s *Server) close() error {
	err := s.file.Close()
	for _, fd := range s.stop {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	if s.proc != nil {
		err = errors.Join(err, s.proc.Close())
	}
	if s.own != nil {
		err = errors.Join(err, s.own.Close())
	}
	return err
}

// thread is one of this process that answers, with the rights of those that ask. One at a time waits for calls: who
// got one that it has not the rights for hands it over, with the waiting.
type thread struct {
	*Server
	rights *credentials
	lost   bool // it could not get them
	baton  chan *notification
	last   notification // that it received
	memory [pathMax]byte
	local  [1]unix.Iovec
	remote [2]unix.RemoteIovec
}

// newThread starts a thread. The caller holds mu, or is alone.
func (s *Server) newThread(rights *credentials) *thread {
	t := &thread{Server: s, rights: rights, baton: make(chan *notification)}
	s.threads = append(s.threads, t)
	s.running.Add(1)
	go t.run()
	return t
}

func (t *thread) run() {
	defer t.running.Done()
	runtime.LockOSThread() // for ever: the thread ends with this function
	if t.rights != &t.self {
		t.lost = t.rights.take(&t.self) != nil
	}
	for n := range t.baton {
		n, next := t.serve(n)
		if next == nil {
			t.end()
			return
		}
		next.baton <- n
	}
}

// serve answers calls, of which it is given the first or nil, until it gives one that needs another thread, or
// there are no more.
func (t *thread) serve(n *notification) (*notification, *thread) {
	for {
		if n == nil {
			n = &t.last
			if t.listener.receive(n, t.stop[0]) != nil {
				return nil, nil
			}
		}
		if next := t.answer(n); next != nil {
			return n, next
		}
		n = nil
	}
}

// end ends all other threads, which wait for their turn.
func (t *thread) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, other := range t.threads {
		if other != t {
			close(other.baton)
		}
	}
}
