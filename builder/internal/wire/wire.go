// Package wire carries calls from the builder to its worker. A call is declared once, by the
// type of what it takes (see Request): Do does it over a Conn, and a Server handles it. While
// it runs, events come back, and questions, which are calls the other way.
//
// There are two ways for calls to go. NewClient and Server.Serve go over a socket, to another
// process. Server.Local stays in this one. Both encode what they carry, so that a handler
// cannot tell which it is.
package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/oakum-build/oakum/builder/bytetext"
)

// Request is what a call takes, and its declaration: Gives names the method, and the type of
// its argument is what the call gives.
type Request[R any] interface{ Gives(R) (method string) }

// None is what a call gives that gives nothing.
type None = struct{}

// Conn carries calls to a Server. It is safe for many goroutines.
type Conn interface {
	// Call does a call and gives its result. When ctx ends the call is cancelled; Call waits
	// until the server has undone it, and gives the context's error. A failure of the handler
	// is an *Error. ErrGone says that there is no server, or none any more.
	Call(ctx context.Context, call Outgoing) (json.RawMessage, error)
	// Close cancels the calls under way and ends the server.
	Close() error
}

// Outgoing is a call as its caller sends it.
type Outgoing struct {
	Method string
	Params json.RawMessage
	Files  []*os.File // who handles it gets copies
	// Event is given what the handler tells, one at a time, before Call returns. nil gives it
	// to nobody.
	Event func(json.RawMessage)
	// Answers serves what the handler asks; nil answers nothing.
	Answers *Server
}

// check refuses a call with more files than are sent.
func (o Outgoing) check() error {
	if len(o.Files) > maxFiles {
		return fmt.Errorf("%d files in one call", len(o.Files))
	}
	return nil
}

// maxFiles is how many files one call may carry, far below the kernel's 253.
const maxFiles = 16

// Error is a failure as it crosses the wire.
type Error struct {
	Kind    string // a name both sides know; "" for any other
	Message string
	Detail  json.RawMessage `json:",omitempty"`
}

func (e *Error) Error() string { return e.Message }

// ErrGone says that the worker has died or was closed.
var ErrGone = errors.New("the worker is gone")

// With is what goes along with a call.
type With struct {
	Files   []*os.File
	Event   func(json.RawMessage)
	Answers *Server
}

// Do does a call over conn.
func Do[Q Request[R], R any](ctx context.Context, conn Conn, q Q, with With) (R, error) {
	var result R
	method := q.Gives(result)
	raw, err := Marshal(q)
	if err != nil {
		return result, fmt.Errorf("encoding %s: %w", method, err)
	}
	raw, err = conn.Call(ctx, Outgoing{method, raw, with.Files, with.Event, with.Answers})
	if err == nil {
		err = Unmarshal(raw, &result)
	}
	return result, err
}

// Call is one call as its handler sees it.
type Call struct {
	// Files are the caller's. The handler may take files out of the call by setting them to
	// nil; the rest is closed after it.
	Files []*os.File

	method string
	params json.RawMessage
	event  func(json.RawMessage)
	ask    func(ctx context.Context, question Outgoing) (json.RawMessage, error)
}

// Event tells the caller of something.
func (c *Call) Event(v any) {
	if raw, err := Marshal(v); err == nil {
		c.event(raw)
	}
}

// Ask asks the caller something and waits for the answer, or until the call is cancelled. The
// caller gets copies of the files.
func Ask[Q Request[R], R any](ctx context.Context, c *Call, q Q, files ...*os.File) (R, error) {
	return Do[Q, R](ctx, asker{c}, q, With{Files: files})
}

// asker is the way back to a call's caller.
type asker struct{ c *Call }

func (a asker) Call(ctx context.Context, question Outgoing) (json.RawMessage, error) {
	if err := question.check(); err != nil {
		return nil, err
	}
	return a.c.ask(ctx, question)
}

func (asker) Close() error { return nil }

// Server handles calls, each in a goroutine of its own. Handlers are added before it serves.
type Server struct {
	handlers map[string]handler
	encode   func(error) *Error
	before   func(method string) error
}

type handler func(ctx context.Context, call *Call) (any, error)

// NewServer makes a Server without methods. encode makes what crosses the wire of a handler's
// error. before, when not nil, is asked before each call, which its error ends.
func NewServer(encode func(error) *Error, before func(method string) error) *Server {
	return &Server{map[string]handler{}, encode, before}
}

// Handle makes do the handler of the calls that take a Q. Its context ends when the caller
// cancels or dies.
func Handle[Q Request[R], R any](s *Server, do func(ctx context.Context, call *Call, q Q) (R, error)) {
	var q Q
	var r R
	method := q.Gives(r)
	s.handlers[method] = func(ctx context.Context, call *Call) (any, error) {
		var q Q
		if err := Unmarshal(call.params, &q); err != nil {
			return nil, fmt.Errorf("%s: %w", method, err)
		}
		return do(ctx, call, q)
	}
}

// Handles says whether there is a handler for a method.
func (s *Server) Handles(method string) bool { return s.handlers[method] != nil }

// handle does a call and gives its result or error as they cross the wire.
func (s *Server) handle(ctx context.Context, call *Call) (json.RawMessage, *Error) {
	defer call.close()
	result, err := s.do(ctx, call)
	if err != nil && ctx.Err() == nil {
		e := s.encode(err)
		return nil, &Error{e.Kind, bytetext.Encode(e.Message), e.Detail}
	}
	var raw json.RawMessage
	if err == nil {
		raw, err = Marshal(result)
	}
	if err != nil {
		return nil, &Error{Message: bytetext.Encode(err.Error())}
	}
	return raw, nil
}

func (s *Server) do(ctx context.Context, call *Call) (any, error) {
	if s.before != nil {
		if err := s.before(call.method); err != nil {
			return nil, err
		}
	}
	do := s.handlers[call.method]
	if do == nil {
		return nil, fmt.Errorf("unknown method %q", call.method)
	}
	return do(ctx, call)
}

// close closes the files that the handler left.
func (c *Call) close() { closeAll(c.Files) }

func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

// decoded gives an error that has crossed the wire its text.
func decoded(e *Error) *Error {
	e.Message = bytetext.Decode(e.Message)
	return e
}
