package builder

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/builder/terminal"
)

// stdio connects a command's standard files with the caller's reader and writers. The
// command is given pipes or a terminal, and no file of the caller: with what it has open
// it could do more than the caller has in mind, such as change its owner, truncate what is
// opened to append, or reach the tree that a directory is in.
type stdio struct {
	files   []*os.File // for the worker
	ours    []*os.File // what is closed once the worker has its copies
	stop    chan struct{}
	writing sync.WaitGroup
	tail    tail

	mu     sync.Mutex
	feeds  []*feed
	failed error // of the reader or a writer
	ended  bool
}

// patience is how long a command that was cancelled waits for its writers.
const patience = 2 * time.Second

// feeding is how long a command that has ended waits for its reader, when that can be woken: it then gives back what the
// command did not take.
const feeding = 20 * time.Second

func newStdio(cmd Cmd) (*stdio, error) {
	s := &stdio{stop: make(chan struct{})}
	connect := s.pipes
	if cmd.Terminal != nil {
		connect = s.terminal
	}
	if err := connect(cmd); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// pipes makes three pipes, or two when both outputs go to the same place.
func (s *stdio) pipes(cmd Cmd) error {
	if err := s.inputPipe(cmd.Stdin); err != nil {
		return err
	}
	if err := s.outputPipe(cmd.Stdout, !cmd.Ephemeral); err != nil {
		return err
	}
	if samePlace(cmd.Stdout, cmd.Stderr) {
		s.files = append(s.files, s.files[1])
		return nil
	}
	return s.outputPipe(cmd.Stderr, !cmd.Ephemeral)
}

// give has the worker get a file that is closed here afterwards.
func (s *stdio) give(f *os.File) {
	s.files, s.ours = append(s.files, f), append(s.ours, f)
}

func (s *stdio) inputPipe(r io.Reader) error {
	if r == nil {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return err
		}
		s.give(f)
		return nil
	}
	pr, pw, err := os.Pipe()
	if err != nil {
		return err
	}
	s.files = append(s.files, pr)
	return s.feed(&feed{from: r, to: pw, pipe: pr, end: func() { pw.Close() }})
}

func (s *stdio) outputPipe(w io.Writer, readOn bool) error {
	pr, pw, err := os.Pipe()
	if err != nil {
		return err
	}
	s.give(pw)
	s.writing.Go(func() {
		defer pr.Close()
		s.deliver(w, pr, readOn)
	})
	return nil
}

// samePlace says whether one pipe serves both outputs, which keeps the order of what is
// written.
func samePlace(a, b io.Writer) bool {
	f, _ := a.(*os.File)
	g, _ := b.(*os.File)
	if f != nil && g != nil {
		one, err := f.Stat()
		other, otherErr := g.Stat()
		return err == nil && otherErr == nil && os.SameFile(one, other)
	}
	defer func() { _ = recover() }() // writers of types that cannot be compared
	return a == b
}

// terminal has the worker send the master of a terminal that is made in the container.
func (s *stdio) terminal(cmd Cmd) error {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|closeOnExec, 0)
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	socket := os.NewFile(uintptr(fds[0]), "terminal")
	s.give(os.NewFile(uintptr(fds[1]), "console"))
	in := cmp.Or[io.Reader](cmd.Stdin, strings.NewReader(""))
	s.writing.Go(func() {
		defer socket.Close()
		master, err := wire.ReceiveFile(socket)
		if err != nil {
			return // the command was not started
		}
		defer master.Close()
		f := &feed{from: in, to: master}
		f.end = func() { f.typeEnd(s.stop) }
		if err := s.feed(f); err != nil {
			s.fail(err)
			return
		}
		go s.resize(master, cmd.Terminal.Resized)
		s.deliver(cmd.Stdout, &shown{from: master}, !cmd.Ephemeral)
	})
	return nil
}

// resize gives a terminal the sizes that come.
func (s *stdio) resize(master *os.File, sizes <-chan terminal.Size) {
	for {
		select {
		case <-s.stop:
			return
		case size, more := <-sizes:
			if !more {
				return
			}
			_ = control(master, func(fd int) error {
				return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: size.Rows, Col: size.Columns})
			})
		}
	}
}

// shown reads what a terminal shows from its master, until the command's end is closed: the kernel says EIO
// then. It says so too early to a reader that looked just before the last output came and sees just after it
// that the other end is closed, so that only the second EIO in a row is the end.
type shown struct {
	from io.Reader
	end  bool
}

func (s *shown) Read(p []byte) (int, error) {
	for {
		n, err := s.from.Read(p)
		again := !s.end && n == 0 && errors.Is(err, unix.EIO)
		s.end = again || s.end && n == 0
		if !again {
			return n, err
		}
	}
}

// deliver copies what a command writes. When the writer fails it reads on if the command
// is to notice nothing.
func (s *stdio) deliver(w io.Writer, from io.Reader, readOn bool) {
	out := &failing{to: cmp.Or(w, io.Discard)}
	_, _ = io.Copy(io.MultiWriter(&s.tail, out), from)
	if out.err == nil {
		return
	}
	s.fail(fmt.Errorf("passing the command's output on: %w", out.err))
	if readOn {
		_, _ = io.Copy(&s.tail, from)
	}
}

// failing is a writer that keeps its error.
type failing struct {
	to  io.Writer
	err error
}

func (f *failing) Write(p []byte) (int, error) {
	n, err := f.to.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	f.err = err
	return n, err
}

func (s *stdio) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = cmp.Or(s.failed, err)
}

func (s *stdio) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.ended = true
	close(s.stop)
	for _, f := range s.ours {
		f.Close()
	}
	for _, f := range s.feeds {
		f.stop()
	}
}

// finish is called when the worker is done with the files, and what it did with them gave err. It waits
// until all output has been delivered, which a writer that hangs does not hold up when ctx has ended, and gives
// the first error of the reader or a writer. It may be called again.
func (s *stdio) finish(ctx context.Context, err error) error {
	delivered := make(chan struct{})
	s.close()
	if errors.Is(err, ErrClosed) { // what a killed worker without a PID namespace has left may have the files
		ended, end := context.WithCancel(ctx)
		end()
		ctx = ended
	}
	go func() {
		s.writing.Wait()
		close(delivered)
	}()
	select {
	case <-delivered:
	case <-ctx.Done():
		wait(delivered, patience)
	}
	s.mu.Lock()
	feeds := s.feeds
	s.mu.Unlock()
	for _, f := range feeds {
		if f.wake != nil {
			wait(f.done, feeding)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// wait waits for something that should happen soon.
func wait(done <-chan struct{}, most time.Duration) {
	select {
	case <-done:
	case <-time.After(most):
	}
}

// control calls f with a file's descriptor, and leaves the file's mode as it is, which
// File.Fd would change.
func control(file *os.File, f func(fd int) error) error {
	conn, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := conn.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// maxTail is how much output an ExitError carries.
const maxTail = 8 << 10

// tail keeps the last lines written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
	cut bool // the first line is not whole
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if len(t.buf) > 2*maxTail {
		t.buf, t.cut = append(t.buf[:0], t.buf[len(t.buf)-maxTail:]...), true
	}
	return len(p), nil
}

func (t *tail) bytes() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.buf) > maxTail {
		t.buf, t.cut = t.buf[len(t.buf)-maxTail:], true
	}
	if _, rest, found := bytes.Cut(t.buf, []byte("\n")); t.cut && found && len(rest) > 0 {
		return rest
	}
	return t.buf
}
