// Package stall ends http transfers whose server hardly sends or takes anything: one that
// sends a byte now and then is no better than one that is silent.
//
// It counts what the kernel says has crossed the connections of requests under way, so that
// it serves for libraries that have an http client of their own. While the program itself
// leaves what has come unread, and while no request is under way, no time counts. Only Linux
// is asked; on other systems a transfer ends with its context and not before.
package stall

import (
	"context"
	"fmt"
	"net"
	"net/http/httptrace"
	"sync"
	"syscall"
	"time"
)

// Limits are those of the transfers under one context. A zero field is that of Default.
type Limits struct {
	// In each Window at least Least bytes must come or be taken, all connections together.
	Window time.Duration
	Least  int64
	// Most bytes may come in all.
	Most int64
}

// Default are limits that no honest server comes near: 1 KiB a second, over a minute, and
// a tebibyte, which fills most disks.
var Default = Limits{Window: time.Minute, Least: 60 << 10, Most: 1 << 40}

func (l Limits) complete() Limits {
	if l.Window == 0 {
		l.Window = Default.Window
	}
	if l.Least == 0 {
		l.Least = Default.Least
	}
	if l.Most == 0 {
		l.Most = Default.Most
	}
	return l
}

// Error says which limit was exceeded.
type Error struct{ text string }

func (e *Error) Error() string { return e.text }

// Watch gives a context for http requests, which ends when they exceed the limits; its
// cause is an *Error then. stop must be called when they are done.
func Watch(ctx context.Context, limits Limits) (watched context.Context, stop func()) {
	inner, cancel := context.WithCancelCause(ctx)
	w := &watcher{limits: limits.complete(), parent: inner, conns: map[syscall.Conn]*traffic{}}
	go w.watch(cancel)
	// Without any trace, net/http would not ask for one.
	marked := httptrace.WithClientTrace(inner, &httptrace.ClientTrace{})
	return tracing{marked, w}, func() { cancel(nil) }
}

// Cause is why a transfer failed: the limit that it exceeded, or else err.
func Cause(watched context.Context, err error) error {
	if limit, ok := context.Cause(watched).(*Error); ok && err != nil {
		return limit
	}
	return err
}

// tracing gives each request a trace of its own, for the hooks do not say which request
// they belong to.
type tracing struct {
	context.Context
	w *watcher
}

func (t tracing) Value(key any) any {
	v := t.Context.Value(key)
	if _, ok := v.(*httptrace.ClientTrace); ok {
		return t.w.trace()
	}
	return v
}

// traffic is what has crossed a connection.
type traffic struct{ in, out uint64 }

type watcher struct {
	limits Limits
	parent context.Context

	mu       sync.Mutex
	conns    map[syscall.Conn]*traffic // of requests under way, when last looked at
	received int64
	moved    int64
}

// trace notes the connection of one request for as long as it has it.
func (w *watcher) trace() *httptrace.ClientTrace {
	var mine syscall.Conn
	var mu sync.Mutex
	leave := func() {
		mu.Lock()
		defer mu.Unlock()
		w.mu.Lock()
		defer w.mu.Unlock()
		if mine != nil {
			w.look(mine)
			delete(w.conns, mine)
			mine = nil
		}
	}
	hooks := &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			conn := raw(info.Conn)
			if conn == nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			w.mu.Lock()
			defer w.mu.Unlock()
			mine = conn
			if now, _, err := read(conn); err == nil {
				w.conns[conn] = &now
			}
		},
		PutIdleConn: func(error) { leave() },
	}
	return httptrace.ContextClientTrace(httptrace.WithClientTrace(w.parent, hooks))
}

// raw is the connection below TLS.
func raw(c net.Conn) syscall.Conn {
	if below, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = below.NetConn()
	}
	conn, _ := c.(syscall.Conn)
	return conn
}

// watch looks at the connections until the context ends.
func (w *watcher) watch(cancel context.CancelCauseFunc) {
	ticker := time.NewTicker(max(w.limits.Window/20, time.Millisecond))
	defer ticker.Stop()
	began, base := time.Now(), int64(0)
	for {
		select {
		case <-w.parent.Done():
			return
		case <-ticker.C:
		}
		moved, received, waiting := w.sum()
		switch {
		case received > w.limits.Most:
			cancel(&Error{fmt.Sprintf("the server sent more than %d bytes", w.limits.Most)})
			return
		case !waiting || moved-base >= w.limits.Least:
			began, base = time.Now(), moved
		case time.Since(began) >= w.limits.Window:
			cancel(&Error{fmt.Sprintf("the server is too slow: %d bytes in %v, where %d are the least", moved-base, w.limits.Window, w.limits.Least)})
			return
		}
	}
}

// sum counts what has crossed all connections so far, and says whether all of them that
// are under way wait for the server.
func (w *watcher) sum() (moved, received int64, waiting bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	waiting = true
	for conn := range w.conns {
		unread, err := w.look(conn)
		if err != nil {
			delete(w.conns, conn) // it is closed
		}
		waiting = waiting && unread == 0
	}
	return w.moved, w.received, waiting && len(w.conns) > 0
}

// look counts what has crossed a connection since it was last looked at.
func (w *watcher) look(conn syscall.Conn) (unread int, err error) {
	last := w.conns[conn]
	if last == nil {
		return 0, nil
	}
	now, unread, err := read(conn)
	if err != nil {
		return 0, err
	}
	w.received += int64(now.in - last.in)
	w.moved += int64(now.in-last.in) + int64(now.out-last.out)
	*last = now
	return unread, nil
}
