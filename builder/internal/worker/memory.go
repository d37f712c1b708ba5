//go:build linux

package worker

import (
	"runtime/debug"
	"sync"
)

const (
	// usualGarbage is for a process that lives for one build, whose store makes much garbage.
	usualGarbage = 400
	// layersGarbage is for many layers: containers/storage makes megabytes of buffers anew for each, which are most of
	// what a worker ever has. It puts them into pools, which a collection of garbage takes for in use once more. So
	// what has come since the last one counts as in use, and with more than 100 each time more comes than the time
	// before. With 400, pulling 20 layers takes 130 MiB, with 100 54, and 50 costs more time than it gains memory.
	layersGarbage = 100
	// manyLayers is how many are made before that counts for a build: 20 steps take a tenth longer with it.
	manyLayers = 24
	// Where there is more than this it is collected more often, whatever goes on.
	mostMemory = 192 << 20
)

// memory says how much garbage there may be, in per cent of what is in use.
type memory struct {
	mu     sync.Mutex
	images int // that come in or go out
	layers int // that were made
}

// moving is called when an image begins to come in or to go out, and done when it has ended.
func (m *memory) moving() (done func()) {
	m.add(1, 0)
	return func() { m.add(-1, 0) }
}

// made is called when a layer was made.
func (m *memory) made() { m.add(0, 1) }

func (m *memory) add(images, layers int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.garbage()
	m.images, m.layers = m.images+images, m.layers+layers
	if now := m.garbage(); now != before { // for it stops the process
		debug.SetGCPercent(now)
	}
}

// garbage is the per cent. The caller holds m.mu.
func (m *memory) garbage() int {
	if m.images > 0 || m.layers >= manyLayers {
		return layersGarbage
	}
	return usualGarbage
}
