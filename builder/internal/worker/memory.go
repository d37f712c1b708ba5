//go:build linux

package worker

import (
	"runtime/debug"
	"sync"
)

const (
	// usualGarbage is for a process that lives for one build, whose store makes much garbage.
	usualGarbage = 400
	// pullGarbage is while images come in: containers/storage makes megabytes of buffers anew for each
	// layer, which are most of what a worker ever has. With 400, pulling 20 layers takes 130 MiB, with 100
	// 54, and 50 costs more time than it gains memory.
	pullGarbage = 100
	// Where there is more than this it is collected more often, whatever goes on.
	mostMemory = 192 << 20
)

// memory says how much garbage there may be, in per cent of what is in use.
type memory struct {
	mu     sync.Mutex
	coming int // images
}

// pull is called when an image begins to come in, and done when it has ended.
func (m *memory) pull() (done func()) {
	m.add(1)
	return func() { m.add(-1) }
}

func (m *memory) add(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.coming += n
	if m.coming > 0 {
		debug.SetGCPercent(pullGarbage)
	} else {
		debug.SetGCPercent(usualGarbage)
	}
}
