package userns

import (
	"io"
	"strings"
	"sync"
)

// words keeps what a worker writes first and last, and passes all of it on.
type words struct {
	to   io.WriteCloser
	mu   sync.Mutex
	head []byte
	tail []byte
	cut  bool
}

// maxWords bounds each of the two parts.
const maxWords = 2 << 10

// Write does not fail: a worker whose output nobody takes would stand still.
func (w *words) Write(p []byte) (int, error) {
	if w.to != nil {
		_, _ = w.to.Write(p)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	room := min(maxWords-len(w.head), len(p))
	w.head = append(w.head, p[:room]...)
	w.tail = append(w.tail, p[room:]...)
	if over := len(w.tail) - maxWords; over > 0 {
		w.tail, w.cut = append(w.tail[:0], w.tail[over:]...), true
	}
	return len(p), nil
}

func (w *words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	middle := ""
	if w.cut {
		middle = "\n...\n"
	}
	return strings.TrimSpace(string(w.head) + middle + string(w.tail))
}
