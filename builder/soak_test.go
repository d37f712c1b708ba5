//go:build linux

package builder_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oakum-build/oakum/builder"
)

// A thing that may pile up with the commands that were run.
type pile struct {
	name  string
	slack int // that it may grow by all the same
	times int // it may grow to, for what is only sometimes tidied up
	count func(t *testing.T, worker int) int
}

var piles = []pile{
	{"descriptors", 0, 1, func(t *testing.T, _ int) int { return entries(t, "/proc/self/fd") }},
	{"goroutines", 0, 1, func(*testing.T, int) int { return runtime.NumGoroutine() }},
	{"threads", 16, 1, func(t *testing.T, _ int) int { return entries(t, "/proc/self/task") }},
	{"descriptors of the worker", 15, 1, func(t *testing.T, worker int) int { return entries(t, fmt.Sprintf("/proc/%d/fd", worker)) }},
	{"threads of the worker", 16, 1, func(t *testing.T, worker int) int { return entries(t, fmt.Sprintf("/proc/%d/task", worker)) }},
	{"mounts of the worker", 0, 1, func(_ *testing.T, worker int) int {
		data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", worker)) // nobody but root may read it everywhere
		return strings.Count(string(data), "\n")
	}},
	{"processes", 0, 1, func(t *testing.T, worker int) int { return len(children(t, worker)) }},
	// Garbage is collected when there is several times what is no garbage.
	{"MiB of the worker", 24, 2, func(t *testing.T, worker int) int { return resident(t, worker) }},
	{"control groups", 0, 1, func(t *testing.T, _ int) int { return groups(t) }},
}

func entries(t *testing.T, dir string) int {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrPermission) {
		t.Fatal(err)
	}
	return len(list)
}

// resident is a process's memory, in MiB.
func resident(t *testing.T, pid int) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	ok(t, err)
	_, rest, _ := strings.Cut(string(data), "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	ok(t, err)
	return kib / 1024
}

// groups counts the control groups of this machine.
func groups(t *testing.T) int {
	t.Helper()
	n := 0
	_ = filepath.WalkDir("/sys/fs/cgroup", func(_ string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), "oakum-") {
			n++
		}
		return nil
	})
	return n
}

// Of thousands of commands, of which many are cancelled at any moment, nothing is left.
func TestManyRuns(t *testing.T) {
	const most, side = 2000, 4
	b := open(t)
	s := base(t, b)
	var worker int
	for _, pid := range children(t, os.Getpid()) {
		worker = max(worker, pid) // ours is the latest
	}
	var cancelled, done, failed atomic.Int64
	one := func(fork *builder.Stage, i int) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		if i%3 == 0 {
			time.AfterFunc(time.Duration(rand.IntN(8000))*time.Microsecond, stop)
		}
		script := "echo text; sleep 100 & exit $1"
		code := i % 2
		_, err := fork.Run(ctx, builder.Cmd{Args: []string{"/bin/sh", "-c", script, "sh", strconv.Itoa(code)}, Ephemeral: i%10 != 0})
		var exit *builder.ExitError
		switch {
		case errors.Is(err, context.Canceled):
			cancelled.Add(1)
		case code == 1 && errors.As(err, &exit) && exit.Code == 1:
			failed.Add(1)
		case code == 0 && err == nil:
			done.Add(1)
		default:
			t.Errorf("command %d: %v", i, err)
		}
	}
	some := func(n int) {
		var all sync.WaitGroup
		for g := range side {
			all.Go(func() {
				for i := g; i < n; i += side {
					fork, err := s.Fork(t.Context(), builder.StageOptions{NoCache: true})
					if err != nil {
						t.Error(err)
						return
					}
					one(fork, i)
					if err := fork.Close(); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
	}
	some(most * 2 / 5) // until the collector of the worker's garbage has found its pace
	before := map[string]int{}
	for _, p := range piles {
		before[p.name] = p.count(t, worker)
	}
	some(most)
	for _, p := range piles {
		var now int
		bound := before[p.name]*p.times + p.slack
		eventually(t, fmt.Sprintf("as few %s as %d after %d commands", p.name, bound, most), func() bool {
			now = p.count(t, worker)
			return now <= bound
		})
		t.Logf("%s: %d before, %d after", p.name, before[p.name], now)
	}
	t.Logf("%d commands succeeded, %d failed, %d were cancelled", done.Load(), failed.Load(), cancelled.Load())
	if done.Load() == 0 || failed.Load() == 0 || cancelled.Load() < most/50 {
		t.Error("the commands did not end in all ways")
	}
}
