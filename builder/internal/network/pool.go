//go:build linux

package network

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
)

// Kind is whether a namespace is connected.
type Kind bool

// The kinds.
const (
	Empty     Kind = false
	Connected Kind = true
)

// Pool keeps namespaces: what one command has used serves the next one, but never two at once. Its
// methods may be called from many goroutines. The process must be root of its user namespace.
type Pool struct {
	forward  bool          // the machine's nameserver listens on loopback
	patience time.Duration // with a program that connects

	mu       sync.Mutex
	free     map[Kind][]*making
	programs []program // that have not failed yet
	failed   error     // why others have
	worked   bool      // one of them has connected a namespace
	closed   bool
}

// making is a namespace that is being made, or was.
type making struct {
	done chan struct{} // closed when the others are set
	ns   *namespace
	err  error
}

// NewPool makes a pool for a machine, and starts nothing.
func NewPool(m Machine) *Pool {
	return &Pool{forward: m.forwards(), patience: 10 * time.Second, free: map[Kind][]*making{}, programs: programs}
}

// Warm has a namespace made ahead of a command that will take it, unless there is one.
func (p *Pool) Warm(kind Kind) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed && len(p.free[kind]) == 0 {
		p.free[kind] = append(p.free[kind], p.start(kind))
	}
}

// Lease is one command's use of a namespace. Each must be released.
type Lease struct {
	pool *Pool
	kind Kind
	m    *making
}

// Take takes a namespace for one command. It returns at once: Lease.File waits.
func (p *Pool) Take(kind Kind) *Lease {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n := len(p.free[kind]); n > 0; n = len(p.free[kind]) {
		m := p.free[kind][n-1]
		p.free[kind] = p.free[kind][:n-1]
		if m.usable() {
			return &Lease{p, kind, m}
		}
		m.close()
	}
	return &Lease{p, kind, p.start(kind)}
}

// start starts to make a namespace. The pool is locked.
func (p *Pool) start(kind Kind) *making {
	m := &making{done: make(chan struct{})}
	go func() {
		defer close(m.done)
		if kind == Empty {
			m.ns, m.err = newNamespace()
		} else {
			m.ns, m.err = p.connected()
		}
	}()
	return m
}

// usable says whether a namespace is, or may still become, what it was made to be.
func (m *making) usable() bool {
	select {
	case <-m.done:
		return m.err == nil && m.ns.alive()
	default:
		return true
	}
}

// close ends the namespace once it is made.
func (m *making) close() {
	<-m.done
	if m.ns != nil {
		_ = m.ns.close()
	}
}

// connected makes a namespace and connects it by the first program that can.
func (p *Pool) connected() (*namespace, error) {
	for {
		p.mu.Lock()
		left, failed := p.programs, p.failed
		p.mu.Unlock()
		if len(left) == 0 {
			return nil, failed
		}
		ns, err := newNamespace() // a program may have begun to configure the last one
		if err != nil {
			return nil, err
		}
		err = left[0].connect(ns, p.forward, p.patience)
		p.mu.Lock()
		if err == nil {
			p.worked = true
		} else if len(p.programs) == len(left) {
			p.programs, p.failed = left[1:], unconnected(p.failed, err)
			if !errors.Is(err, errEnded) { // other arguments make no difference
				p.programs = slices.DeleteFunc(slices.Clone(left), func(other program) bool { return other.name == left[0].name })
			}
		}
		p.mu.Unlock()
		if err == nil {
			return ns, nil
		}
		_ = ns.close()
	}
}

// remedy is that of a machine that has no private networks for commands.
const remedy = "install passt or slirp4netns (apt-get install passt, or your distribution's package of it), or choose the network host or none"

// unconnected is the error of programs that cannot connect.
func unconnected(others, err error) error {
	missing := err.Error()
	if others != nil && strings.Contains(others.Error(), missing) {
		missing = others.Error()
	} else if others != nil {
		missing = others.Error() + "; " + missing
	}
	return &errdefs.HostError{Missing: missing, Remedy: remedy}
}

// File is the namespace, which stays the lease's. An error is a *errdefs.HostError, or ctx's.
func (l *Lease) File(ctx context.Context) (*os.File, error) {
	select {
	case <-l.m.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if l.m.err != nil {
		return nil, l.m.err
	}
	return l.m.ns.file, nil
}

// Program names what has connected a namespace, or is "" if nothing has.
func (p *Pool) Program() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.worked || len(p.programs) == 0 {
		return ""
	}
	return p.programs[0].name
}

// HasWorked says whether a namespace was connected ever. Then one that cannot be is no reason to do
// without.
func (p *Pool) HasWorked() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.worked
}

// Release gives a namespace back. It serves another command if again says that this one could not change
// it.
func (l *Lease) Release(again bool) {
	p := l.pool
	p.mu.Lock()
	if again && !p.closed && l.m.usable() {
		p.free[l.kind] = append(p.free[l.kind], l.m)
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	l.m.close()
}

// Close ends all namespaces that are not leased, and those that are when they are released.
func (p *Pool) Close() {
	p.mu.Lock()
	free := p.free
	p.free, p.closed = nil, true
	p.mu.Unlock()
	for _, list := range free {
		for _, m := range list {
			m.close()
		}
	}
}
