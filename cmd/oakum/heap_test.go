package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

// heapPercent is what GOGC is at the moment.
func heapPercent() int {
	sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(sample)
	return int(sample[0].Value.Uint64())
}

func TestFirstCollectionIsDelayed(t *testing.T) {
	const usual = 90
	defer debug.SetGCPercent(debug.SetGCPercent(usual))
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	// A collection that runs already must not be taken for the first.
	runtime.GC()
	delayFirstCollection()
	if got := heapPercent(); got != firstHeapPercent {
		t.Fatalf("GOGC is %d before the first collection, not %d", got, firstHeapPercent)
	}
	runtime.GC()
	for deadline := time.Now().Add(30 * time.Second); heapPercent() != usual; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("GOGC is %d after the first collection, not %d", heapPercent(), usual)
		}
	}
}

func TestMemoryOfTheUserHolds(t *testing.T) {
	const usual = 90
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		t.Run(name, func(t *testing.T) {
			defer debug.SetGCPercent(debug.SetGCPercent(usual))
			t.Setenv("GOGC", "")
			t.Setenv("GOMEMLIMIT", "")
			t.Setenv(name, "100")
			delayFirstCollection()
			if got := heapPercent(); got != usual {
				t.Errorf("GOGC is %d in spite of %s, not %d", got, name, usual)
			}
		})
	}
}
