//go:build linux

package storage

import (
	"errors"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// spool is a file that is read while it is still being written, by any number of readers. It has no
// name, so that nothing is left of it, however the process ends.
type spool struct {
	file *os.File

	mu    sync.Mutex // guards the following
	grown sync.Cond
	size  int64
	ended bool
	err   error // why it has ended, if it is not whole

	annotations map[string]string // of the blob, once it has ended
}

func newSpool(dir string) (*spool, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) {
		return namelessSpool(dir)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return spoolOf(os.NewFile(uintptr(fd), dir)), nil
}

// namelessSpool is for file systems that have no files without a name.
func namelessSpool(dir string) (*spool, error) {
	f, err := os.CreateTemp(dir, "spool-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return spoolOf(f), nil
}

func spoolOf(f *os.File) *spool {
	s := &spool{file: f}
	s.grown.L = &s.mu
	return s
}

// Write is for one goroutine, until it calls end.
func (s *spool) Write(p []byte) (int, error) {
	n, err := s.file.WriteAt(p, s.size) // which only this goroutine changes
	s.mu.Lock()
	s.size += int64(n)
	s.mu.Unlock()
	s.grown.Broadcast()
	return n, err
}

// end says that nothing more comes; err is why, if that is not all.
func (s *spool) end(annotations map[string]string, err error) {
	s.mu.Lock()
	s.ended, s.err, s.annotations = true, err, annotations
	s.mu.Unlock()
	s.grown.Broadcast()
}

// whole is the length, or -1 as long as that is not known.
func (s *spool) whole() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended || s.err != nil {
		return -1
	}
	return s.size
}

// wait waits until there is more than a number of bytes, and gives how many there are: no more than
// that number at the end.
func (s *spool) wait(beyond int64) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.size <= beyond && !s.ended {
		s.grown.Wait()
	}
	return s.size, s.err
}

// reader reads it from the start, and waits for what is to come.
func (s *spool) reader() io.Reader { return &spoolReader{of: s} }

type spoolReader struct {
	of *spool
	at int64
}

func (r *spoolReader) Read(p []byte) (int, error) {
	size, err := r.of.wait(r.at)
	if err != nil {
		return 0, err
	}
	if size <= r.at {
		return 0, io.EOF
	}
	n, err := r.of.file.ReadAt(p[:min(int64(len(p)), size-r.at)], r.at)
	r.at += int64(n)
	return n, err
}

func (s *spool) close() { s.file.Close() }
