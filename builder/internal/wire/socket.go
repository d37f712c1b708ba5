package wire

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Over a socket, each call is a socket pair of its own, sent over the control socket together
// with the call's files: the request goes one way as JSON, then events, questions and one
// result come back. A question's files come with its JSON. Several questions may be asked at a time, of which the
// answer to one may need that to another: each has a number, which its answer repeats. Closing the caller's
// end cancels the call, and the worker's death ends all of them.

// client is the caller's side of a control socket.
type client struct {
	mu   sync.Mutex
	conn *os.File
}

// NewClient makes a way to the server at the other end of a SOCK_SEQPACKET socket.
func NewClient(control *os.File) Conn { return &client{conn: control} }

// Close ends the worker's side too, which then cancels the calls under way.
func (c *client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn.Close()
}

func (c *client) Call(ctx context.Context, call Outgoing) (json.RawMessage, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := call.check(); err != nil {
		return nil, err
	}
	conn, err := c.open(call.Files)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := json.NewEncoder(conn).Encode(request{Method: call.Method, Params: call.Params, Files: len(call.Files)}); err != nil {
		return nil, ErrGone
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.CloseWrite() })
	defer stop()
	raw, err := receive(ctx, conn, call)
	if err != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return raw, err
}

func (c *client) open(files []*os.File) (*net.UnixConn, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|closeOnExec, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	defer unix.Close(fds[1])
	f := os.NewFile(uintptr(fds[0]), "call")
	defer f.Close()
	send := []int{fds[1]}
	for _, file := range files {
		send = append(send, int(file.Fd()))
	}
	c.mu.Lock()
	err = unix.Sendmsg(int(c.conn.Fd()), []byte{0}, unix.UnixRights(send...), nil, unix.MSG_NOSIGNAL)
	c.mu.Unlock()
	if err != nil {
		return nil, ErrGone
	}
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

func receive(ctx context.Context, conn *net.UnixConn, call Outgoing) (json.RawMessage, error) {
	in := &withFiles{conn: conn, oob: roomForFiles()}
	defer func() { closeAll(in.files) }()
	dec := json.NewDecoder(in)
	var answering sync.WaitGroup
	defer answering.Wait()
	ctx, cancel := context.WithCancel(ctx) // who answers is told when nobody waits for it any more
	defer cancel()
	for {
		var r reply
		if err := dec.Decode(&r); err != nil {
			return nil, ErrGone
		}
		switch {
		case r.Event != nil:
			if call.Event != nil {
				call.Event(r.Event)
			}
		case r.Ask != nil:
			question, files := *r.Ask, in.take(r.Ask.Files)
			answering.Go(func() {
				a := reply{Error: &Error{Message: "who was to answer has ended"}} // by runtime.Goexit, as tests do that fail
				defer func() {
					a.Number = question.Number
					_ = json.NewEncoder(conn).Encode(a)
				}()
				a = answer(ctx, call.Answers, question, files)
			})
		case r.Error != nil || r.Done:
			return r.result()
		}
	}
}

// withFiles reads a stream and keeps the files that come with its bytes.
type withFiles struct {
	conn  *net.UnixConn
	oob   []byte
	files []*os.File
	lost  bool // some have not come
}

func (r *withFiles) Read(p []byte) (int, error) {
	n, oobn, flags, _, err := r.conn.ReadMsgUnix(p, r.oob)
	r.lost = r.lost || flags&unix.MSG_CTRUNC != 0
	if oobn > 0 {
		files, rightsErr := rights(r.oob[:oobn])
		r.files, err = append(r.files, files...), cmp.Or(err, rightsErr)
	}
	return max(n, 0), err // with an error it may be -1
}

// take gives the files of a message that was read whole: they came with it. Once some were lost, as happens when no more
// can be open, no message gets any, since those that come later would be taken for those of another one.
func (r *withFiles) take(n int) []*os.File {
	if r.lost {
		closeAll(r.files)
		r.files = nil
	}
	n = max(0, min(n, len(r.files)))
	files := r.files[:n:n]
	r.files = r.files[n:]
	return files
}

// Serve handles calls from a control socket until the socket is closed by the other side;
// then it cancels them and waits for them. When so many files are open that those of a call cannot come, the kernel
// has closed what it did not pass; that call ends by what is left of it being closed, and the others go on.
func (s *Server) Serve(control *os.File) error {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	buf, oob := make([]byte, 16), roomForFiles()
	for {
		n, oobn, flags, _, err := unix.Recvmsg(int(control.Fd()), buf, oob, closeReceived)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return os.NewSyscallError("recvmsg", err)
		}
		if n == 0 {
			return nil
		}
		files, err := rights(oob[:oobn])
		if err != nil || len(files) == 0 || flags&unix.MSG_CTRUNC != 0 {
			closeAll(files)
			continue
		}
		wg.Go(func() { s.serveCall(ctx, files) })
	}
}

// serveCall handles the call that comes over the first of files; the others are the call's.
func (s *Server) serveCall(ctx context.Context, files []*os.File) {
	conn, err := net.FileConn(files[0])
	files[0].Close()
	call := &Call{Files: files[1:]}
	if err != nil {
		call.close()
		return
	}
	defer conn.Close()
	dec := json.NewDecoder(conn)
	var req request
	if err := dec.Decode(&req); err != nil || req.Files != len(call.Files) {
		call.close()
		return
	}
	call.method, call.params = req.Method, req.Params
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	back := &talk{conn: conn.(*net.UnixConn), asked: map[int]chan reply{}}
	call.event = func(raw json.RawMessage) { _ = back.send(reply{Event: raw}) }
	call.ask = back.ask
	go func() {
		// Only answers are sent: the read ends when the caller cancels or dies.
		defer cancel()
		back.listen(dec)
	}()
	raw, failed := s.handle(ctx, call)
	_ = back.send(reply{Result: raw, Error: failed, Done: failed == nil})
}

// talk is what the server says to a call's caller, and the answers that it gets.
type talk struct {
	mu   sync.Mutex // of what is sent
	conn *net.UnixConn

	// asking is another lock than mu, which is held while the caller reads slowly: answers are taken meanwhile.
	asking sync.Mutex
	last   int
	asked  map[int]chan reply // by the numbers of questions that are waited for
}

func (t *talk) send(r reply, files ...*os.File) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	raw = append(raw, '\n')
	t.mu.Lock()
	defer t.mu.Unlock()
	sent := 0
	if len(files) > 0 { // with the first bytes
		var fds []int
		for _, f := range files {
			fds = append(fds, int(f.Fd()))
		}
		sent, _, err = t.conn.WriteMsgUnix(raw, unix.UnixRights(fds...), nil)
	}
	if err == nil && sent < len(raw) {
		_, err = t.conn.Write(raw[sent:])
	}
	return err
}

func (t *talk) ask(ctx context.Context, question Outgoing) (json.RawMessage, error) {
	number, answered := t.expect()
	defer t.forget(number)
	ask := &request{Number: number, Method: question.Method, Params: question.Params, Files: len(question.Files)}
	if err := t.send(reply{Ask: ask}, question.Files...); err != nil {
		return nil, err
	}
	select {
	case a := <-answered:
		return a.result()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// expect gives a question its number, and where its answer comes.
func (t *talk) expect() (int, <-chan reply) {
	t.asking.Lock()
	defer t.asking.Unlock()
	t.last++
	answered := make(chan reply, 1) // so that who delivers waits for nobody
	t.asked[t.last] = answered
	return t.last, answered
}

// forget gives what was waited for by a number, nil if nothing is, and has nobody wait for it any more.
func (t *talk) forget(number int) chan<- reply {
	t.asking.Lock()
	defer t.asking.Unlock()
	answered := t.asked[number]
	delete(t.asked, number)
	return answered
}

// listen takes answers until the caller closes its end. Those that come again, or after their question has been given up,
// are dropped.
func (t *talk) listen(dec *json.Decoder) {
	for {
		var a reply
		if dec.Decode(&a) != nil {
			return
		}
		if answered := t.forget(a.Number); answered != nil {
			answered <- a
		}
	}
}

// ReceiveFile receives the one file that is sent on a socket. It fails when the other end
// is closed before.
func ReceiveFile(socket *os.File) (*os.File, error) {
	buf, oob := make([]byte, 4096), roomForFiles()
	for {
		_, oobn, _, _, err := unix.Recvmsg(int(socket.Fd()), buf, oob, closeReceived)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, os.NewSyscallError("recvmsg", err)
		}
		fds, err := descriptors(oob[:oobn])
		if err == nil && len(fds) == 1 {
			// Before it becomes a File, so that reads of it can be interrupted.
			err = unix.SetNonblock(fds[0], true)
		}
		if err != nil || len(fds) != 1 {
			for _, fd := range fds {
				unix.Close(fd)
			}
			return nil, fmt.Errorf("%d files in a message for one: %w", len(fds), cmp.Or(err, io.ErrUnexpectedEOF))
		}
		return os.NewFile(uintptr(fds[0]), "received"), nil
	}
}

// roomForFiles is room for what comes beside a message: a call's files and its own socket.
func roomForFiles() []byte { return make([]byte, unix.CmsgSpace(4*(maxFiles+1))) }

func rights(oob []byte) ([]*os.File, error) {
	fds, err := descriptors(oob)
	var files []*os.File
	for _, fd := range fds {
		files = append(files, os.NewFile(uintptr(fd), "passed"))
	}
	return files, err
}

func descriptors(oob []byte) ([]int, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var all []int
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return all, err
		}
		all = append(all, fds...)
	}
	return all, nil
}
