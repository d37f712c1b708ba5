package builder

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// feed passes what a reader gives on to a command. A file is read only when something is
// there, and not at all once the command has ended: the rest is for whoever comes next.
type feed struct {
	from io.Reader
	to   *os.File // a pipe, or the master of a terminal
	end  func()   // tells the command that there is no more
	// pipe is the other end of a pipe, which shows what the command has left in it; nil
	// with a terminal.
	pipe *os.File

	wake  *os.File // closed to stop; nil when from is no file
	woken *os.File
	done  chan struct{}

	last      byte // the last one that was passed on
	unwritten int  // what was read and could not be passed on
}

// errStopped ends a feed whose command has ended.
var errStopped = errors.New("the command has ended")

// feed starts a feed.
func (s *stdio) feed(f *feed) error {
	f.done = make(chan struct{})
	if file, ok := f.from.(*os.File); ok {
		var err error
		if f.woken, f.wake, err = os.Pipe(); err != nil {
			f.end()
			return err
		}
		f.from = waiting{file, f.woken}
	}
	s.mu.Lock()
	s.feeds = append(s.feeds, f)
	s.mu.Unlock()
	select {
	case <-s.stop: // the command has ended already, and who stops feeds may have missed it
		f.stop()
	default:
	}
	go func() {
		defer close(f.done)
		err := f.copy()
		f.end()
		if err != nil {
			s.fail(fmt.Errorf("reading the command's input: %w", err))
		}
		if f.pipe != nil {
			<-s.stop
			f.giveBack()
			f.pipe.Close()
		}
	}()
	return nil
}

// stop ends a feed. A reader that is no file is not waited for: it may never end.
func (f *feed) stop() {
	_ = f.to.SetWriteDeadline(time.Now())
	if f.wake != nil {
		_ = f.wake.Close()
	}
}

// copy copies until either side ends. What cannot be read at all is empty, as for a
// command that does not read it: a directory, or the write-only file that nohup leaves.
func (f *feed) copy() error {
	if f.woken != nil {
		defer f.woken.Close()
	}
	buf := make([]byte, 32<<10)
	for begun := false; ; begun = true {
		n, err := f.from.Read(buf)
		written, writeErr := f.to.Write(buf[:n])
		if written > 0 {
			f.last = buf[written-1]
		}
		switch {
		case writeErr != nil || errors.Is(err, errStopped):
			f.unwritten = n - written
			return nil
		case err == io.EOF:
			return nil
		case err != nil && !begun && f.wake != nil:
			return nil
		case err != nil:
			return err
		}
	}
}

// giveBack makes a regular file go on where the command stopped reading, as it would when
// the command read it itself.
func (f *feed) giveBack() {
	file, ok := f.from.(waiting)
	if !ok {
		return
	}
	var unread int
	if err := control(f.pipe, func(fd int) (err error) {
		unread, err = unix.IoctlGetInt(fd, unreadRequest)
		return err
	}); err == nil && unread+f.unwritten > 0 {
		_, _ = file.Seek(-int64(unread+f.unwritten), io.SeekCurrent)
	}
}

// endOfFile is the character that ends what is typed in a terminal, and again is how often
// it is typed: unlike a pipe a terminal tells of its end once, and not to who is not
// reading lines just then.
const (
	endOfFile = 4
	again     = 250 * time.Millisecond
)

// typeEnd ends what is typed until stop is closed. After a line that was begun the first
// character ends just that.
func (f *feed) typeEnd(stop <-chan struct{}) {
	end := []byte{endOfFile}
	if f.last != 0 && f.last != '\n' && f.last != '\r' {
		end = append(end, endOfFile)
	}
	for {
		if _, err := f.to.Write(end); err != nil {
			return
		}
		end = end[:1]
		select {
		case <-stop:
			return
		case <-time.After(again):
		}
	}
}

// waiting is a file that is read when there is something to read.
type waiting struct {
	*os.File
	woken *os.File // readable when there is no more to wait for
}

func (w waiting) Read(p []byte) (int, error) {
	stopped := false
	err := control(w.File, func(fd int) error {
		return control(w.woken, func(woken int) error {
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(woken), Events: unix.POLLIN}}
			for {
				_, err := unix.Poll(fds, -1)
				stopped = fds[1].Revents != 0
				if !errors.Is(err, unix.EINTR) {
					return err
				}
			}
		})
	})
	if err == nil && stopped {
		err = errStopped
	}
	if err != nil {
		return 0, err
	}
	return w.File.Read(p)
}
