// Package wire carries calls from the builder to its worker. Each call is a socket
// pair of its own, sent over the control socket together with the call's files: the
// request goes one way as JSON, then events, questions and one result come back; a
// question is answered before anything else comes. Closing the caller's end cancels the
// call, and the worker's death ends all of them.
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

	"github.com/oakum-build/oakum/builder/bytetext"
)

// maxFiles is how many files one call may carry, far below the kernel's 253.
const maxFiles = 16

type request struct {
	Method string
	Params json.RawMessage
	Files  int
}

type reply struct {
	Event  json.RawMessage `json:",omitempty"`
	Ask    json.RawMessage `json:",omitempty"`
	Result json.RawMessage `json:",omitempty"`
	Error  *Error          `json:",omitempty"`
	Done   bool            `json:",omitempty"`
}

// answer is what the caller says to a question.
type answer struct {
	Result json.RawMessage `json:",omitempty"`
	Error  string          `json:",omitempty"`
}

// Error is a failure as it crosses the wire.
type Error struct {
	Kind    string // a name both sides know; "" for any other
	Message string
	Detail  json.RawMessage `json:",omitempty"`
}

func (e *Error) Error() string { return e.Message }

// ErrGone says that the worker has died or was closed.
var ErrGone = errors.New("the worker is gone")

// Client is the caller's side of a control socket. It is safe for many goroutines.
type Client struct {
	// Answer answers what the worker asks while a call runs, from that call's goroutine. It
	// is set before the first call.
	Answer func(ctx context.Context, question json.RawMessage) (any, error)

	mu   sync.Mutex
	conn *os.File
}

// NewClient makes a client of a SOCK_SEQPACKET socket, which stays the caller's.
func NewClient(control *os.File) *Client { return &Client{conn: control} }

// Close ends the worker's side too, which then cancels the calls under way.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn.Close()
}

// Call sends a request with files and waits for its result. event is called for
// each event, one at a time, before Call returns. When ctx ends the call is cancelled
// and Call still waits until the worker has undone it.
func (c *Client) Call(ctx context.Context, method string, params, result any, files []*os.File, event func(json.RawMessage)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	conn, err := c.open(files)
	if err != nil {
		return err
	}
	defer conn.Close()
	raw, err := Marshal(params)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", method, err)
	}
	if err := json.NewEncoder(conn).Encode(request{Method: method, Params: raw, Files: len(files)}); err != nil {
		return ErrGone
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.CloseWrite() })
	defer stop()
	err = c.receive(ctx, conn, result, event)
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func (c *Client) open(files []*os.File) (*net.UnixConn, error) {
	if len(files) > maxFiles {
		return nil, fmt.Errorf("%d files in one call", len(files))
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
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

func (c *Client) receive(ctx context.Context, conn io.ReadWriter, result any, event func(json.RawMessage)) error {
	dec := json.NewDecoder(conn)
	for {
		var r reply
		if err := dec.Decode(&r); err != nil {
			return ErrGone
		}
		switch {
		case r.Event != nil:
			if event != nil {
				event(r.Event)
			}
		case r.Ask != nil:
			if err := json.NewEncoder(conn).Encode(c.answer(ctx, r.Ask)); err != nil && ctx.Err() == nil {
				return ErrGone
			}
		case r.Error != nil:
			r.Error.Message = bytetext.Decode(r.Error.Message)
			return r.Error
		case r.Done:
			if result == nil {
				return nil
			}
			return Unmarshal(r.Result, result)
		}
	}
}

func (c *Client) answer(ctx context.Context, question json.RawMessage) answer {
	if c.Answer == nil {
		return answer{Error: "nobody answers"}
	}
	result, err := c.Answer(ctx, question)
	if err != nil {
		return answer{Error: err.Error()}
	}
	raw, err := Marshal(result)
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{Result: raw}
}

// Call is one request as the worker sees it.
type Call struct {
	Method string
	Params json.RawMessage
	Files  []*os.File

	mu      sync.Mutex
	enc     *json.Encoder
	asking  sync.Mutex
	answers chan answer
}

// Ask asks the caller something and waits for the answer, or until the call is cancelled.
func (c *Call) Ask(ctx context.Context, question, result any) error {
	raw, err := Marshal(question)
	if err != nil {
		return err
	}
	c.asking.Lock()
	defer c.asking.Unlock()
	c.mu.Lock()
	err = c.enc.Encode(reply{Ask: raw})
	c.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case a := <-c.answers:
		if a.Error != "" {
			return errors.New(a.Error)
		}
		return Unmarshal(a.Result, result)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Event sends an event to the caller.
func (c *Call) Event(v any) {
	raw, err := Marshal(v)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.enc.Encode(reply{Event: raw})
}

// Handler does a call. Its context ends when the caller cancels or dies. It may take
// files out of the call by setting them to nil; the rest is closed after it.
type Handler func(ctx context.Context, call *Call) (any, error)

// Serve handles calls from a control socket, each in a goroutine of its own, until
// the socket is closed by the other side; then it cancels them and waits for them.
func Serve(control *os.File, handle Handler) error {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	buf, oob := make([]byte, 16), make([]byte, unix.CmsgSpace(4*(maxFiles+1)))
	for {
		n, oobn, _, _, err := unix.Recvmsg(int(control.Fd()), buf, oob, unix.MSG_CMSG_CLOEXEC)
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
		if err != nil || len(files) == 0 {
			return fmt.Errorf("control message without files: %w", err)
		}
		wg.Go(func() { serveCall(ctx, files, handle) })
	}
}

// ReceiveFile receives the one file that is sent on a socket. It fails when the other end
// is closed before.
func ReceiveFile(socket *os.File) (*os.File, error) {
	buf, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4*(maxFiles+1)))
	for {
		_, oobn, _, _, err := unix.Recvmsg(int(socket.Fd()), buf, oob, unix.MSG_CMSG_CLOEXEC)
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

func serveCall(ctx context.Context, files []*os.File, handle Handler) {
	conn, err := net.FileConn(files[0])
	files[0].Close()
	call := &Call{Files: files[1:], answers: make(chan answer, 1)}
	defer func() {
		for _, f := range call.Files {
			if f != nil {
				f.Close()
			}
		}
	}()
	if err != nil {
		return
	}
	defer conn.Close()
	call.enc = json.NewEncoder(conn)
	dec := json.NewDecoder(conn)
	var req request
	if err := dec.Decode(&req); err != nil || req.Files != len(call.Files) {
		return
	}
	call.Method, call.Params = req.Method, req.Params
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		// Only answers are sent: the read ends when the caller cancels or dies.
		defer cancel()
		for {
			var a answer
			if dec.Decode(&a) != nil {
				return
			}
			select {
			case call.answers <- a:
			case <-ctx.Done():
				return
			}
		}
	}()
	result, err := handle(ctx, call)
	r := reply{Done: true}
	if err != nil {
		r = reply{Error: asWireError(err)}
	} else if r.Result, err = Marshal(result); err != nil {
		r = reply{Error: &Error{Message: err.Error()}}
	}
	call.mu.Lock()
	defer call.mu.Unlock()
	_ = call.enc.Encode(r)
}

func asWireError(err error) *Error {
	var w *Error
	if errors.As(err, &w) {
		return &Error{Kind: w.Kind, Message: bytetext.Encode(err.Error()), Detail: w.Detail}
	}
	return &Error{Message: bytetext.Encode(err.Error())}
}
