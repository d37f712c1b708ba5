package main

import (
	"os"
	"runtime"
	"runtime/debug"
)

// firstHeapPercent is what GOGC is until the first collection: the heap may have 16 MiB by then instead of 4.
const firstHeapPercent = 400

// delayFirstCollection spares a short build the collections of a heap that is small: one of which all is in the cache
// ends before 16 MiB are allocated. After the first collection the heap grows as that of any program in Go. What the user
// says of memory, in GOGC or GOMEMLIMIT, holds from the beginning.
func delayFirstCollection() {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	usual := debug.SetGCPercent(firstHeapPercent)
	// The first collection finds that nothing refers to it.
	first := new(struct{ _ *byte })
	runtime.AddCleanup(first, func(percent int) { debug.SetGCPercent(percent) }, usual)
}
