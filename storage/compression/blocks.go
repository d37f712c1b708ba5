package compression

import (
	"io"
	"runtime"
	"sync"
)

// mostProcessors bounds the memory that a Writer takes, some 10 MB each.
const mostProcessors = 16

func processors() int { return min(runtime.GOMAXPROCS(0), mostProcessors) }

// blocks has a stream compressed in blocks of a fixed length, side by side, and written in order.
type blocks struct {
	coder
	size    int
	current *block      // that is being filled
	queue   chan *block // in order; when it is full, Write waits
	free    chan *block // whose memory can be used again
	closed  bool
	done    chan struct{} // closed when all is written

	mu  sync.Mutex // guards the following
	err error
}

// A coder compresses blocks.
type coder interface {
	// begin is told of each block in order, before it is compressed. Only the last one may be shorter
	// than the others, or empty. It says whether the block is to be compressed at all.
	begin(b *block) bool
	// encode makes b.out, by any goroutine.
	encode(b *block)
}

type block struct {
	in, out []byte
	before  []byte // for the coder: what was before it
	tail    []byte // for the coder: what comes behind it
	first   bool
	last    bool
	ready   chan struct{} // receives when out is made
}

func newBlocks(w io.Writer, size int, c coder) *blocks {
	n := processors()
	f := &blocks{coder: c, size: size, queue: make(chan *block, n), free: make(chan *block, n+2), done: make(chan struct{})}
	// The first block grows, for it is all that most layers need.
	f.current = &block{first: true, ready: make(chan struct{}, 1)}
	go f.write(w)
	return f
}

func (f *blocks) fresh() *block {
	select {
	case old := <-f.free:
		old.in, old.out, old.before, old.tail, old.first = old.in[:0], old.out[:0], old.before[:0], old.tail[:0], false
		return old
	default:
		return &block{in: make([]byte, 0, f.size), ready: make(chan struct{}, 1)}
	}
}

func (f *blocks) Write(p []byte) (int, error) {
	if err := f.failed(); err != nil {
		return 0, err
	}
	written := len(p)
	for len(p) > 0 {
		n := min(len(p), f.size-len(f.current.in))
		f.current.in = append(f.current.in, p[:n]...)
		p = p[n:]
		if len(f.current.in) == f.size {
			f.send()
			f.current = f.fresh()
		}
	}
	return written, nil
}

// send has the current block compressed.
func (f *blocks) send() {
	full := f.current
	if !f.begin(full) {
		return
	}
	f.queue <- full
	go func() {
		f.encode(full)
		full.ready <- struct{}{}
	}()
}

// Close writes what is left.
func (f *blocks) Close() error {
	if f.closed {
		return f.failed()
	}
	f.closed = true
	f.current.last = true
	f.send()
	close(f.queue)
	<-f.done
	return f.failed()
}

// write writes the blocks. After an error it only takes them.
func (f *blocks) write(w io.Writer) {
	defer close(f.done)
	for full := range f.queue {
		<-full.ready
		if f.failed() == nil {
			if _, err := w.Write(full.out); err != nil {
				f.mu.Lock()
				f.err = err
				f.mu.Unlock()
			}
		}
		select {
		case f.free <- full:
		default:
		}
	}
}

func (f *blocks) failed() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}
