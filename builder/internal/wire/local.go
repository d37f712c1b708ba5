package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// local is the way to a server of the same process.
type local struct {
	server *Server
	ended  context.Context
	end    context.CancelFunc

	mu     sync.Mutex
	closed bool
	calls  sync.WaitGroup
}

// Local is a way to the server from this process. Closing it ends nothing else.
func (s *Server) Local() Conn {
	l := &local{server: s}
	l.ended, l.end = context.WithCancel(context.Background())
	return l
}

// Close waits until the calls under way have ended.
func (l *local) Close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.end()
	l.calls.Wait()
	return nil
}

func (l *local) Call(ctx context.Context, out Outgoing) (json.RawMessage, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := out.check(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil, ErrGone
	}
	l.calls.Add(1)
	l.mu.Unlock()
	defer l.calls.Done()
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.ended, cancel)()

	files, err := duplicates(out.Files)
	call := &Call{Files: files, method: out.Method, params: out.Params, event: oneByOne(out.Event)}
	if err != nil {
		call.close()
		return nil, err
	}
	call.ask = func(ctx context.Context, question Outgoing) (json.RawMessage, error) {
		files, err := duplicates(question.Files)
		if err != nil {
			closeAll(files)
			return nil, err
		}
		a := answer(ctx, out.Answers, request{Method: question.Method, Params: question.Params, Files: len(files)}, files)
		return a.result()
	}
	raw, failed := l.server.handle(inner, call)
	switch {
	case failed == nil:
		return raw, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	return nil, decoded(failed)
}

// oneByOne calls f for one event at a time.
func oneByOne(f func(json.RawMessage)) func(json.RawMessage) {
	if f == nil {
		return func(json.RawMessage) {}
	}
	var mu sync.Mutex
	return func(raw json.RawMessage) {
		mu.Lock()
		defer mu.Unlock()
		f(raw)
	}
}

// duplicates gives a call files of its own.
func duplicates(files []*os.File) (copies []*os.File, err error) {
	for _, f := range files {
		conn, connErr := f.SyscallConn()
		if connErr != nil {
			return copies, connErr
		}
		var fd int
		var dupErr error
		connErr = conn.Control(func(from uintptr) { fd, dupErr = unix.FcntlInt(from, unix.F_DUPFD_CLOEXEC, 0) })
		if err := errors.Join(connErr, dupErr); err != nil {
			return copies, err
		}
		copies = append(copies, os.NewFile(uintptr(fd), f.Name()))
	}
	return copies, nil
}

// request is a call or a question as it crosses the wire.
type request struct {
	Number int `json:",omitempty"` // of a question, which no other of its call has
	Method string
	Params json.RawMessage
	Files  int `json:",omitempty"`
}

// reply is what comes back for a call: events and questions, and then its result or error. A
// question is answered by a reply too.
type reply struct {
	Number int             `json:",omitempty"` // of the question that is answered
	Event  json.RawMessage `json:",omitempty"`
	Ask    *request        `json:",omitempty"`
	Result json.RawMessage `json:",omitempty"`
	Error  *Error          `json:",omitempty"`
	Done   bool            `json:",omitempty"`
}

func (r reply) result() (json.RawMessage, error) {
	if r.Error != nil {
		return nil, decoded(r.Error)
	}
	return r.Result, nil
}

// answer answers a question, which came with files.
func answer(ctx context.Context, from *Server, q request, files []*os.File) reply {
	if from == nil {
		closeAll(files)
		return reply{Error: &Error{Message: "nobody answers"}}
	}
	if len(files) != q.Files {
		closeAll(files)
		return reply{Error: &Error{Message: fmt.Sprintf("%d of the %d files of a question have come: too many are open", len(files), q.Files)}}
	}
	raw, failed := from.handle(ctx, &Call{Files: files, method: q.Method, params: q.Params, event: func(json.RawMessage) {}})
	return reply{Result: raw, Error: failed, Done: true}
}
