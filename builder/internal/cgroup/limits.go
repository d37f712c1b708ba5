//go:build linux

package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/isolation"
)

// defaultPeriod is the kernel's, in microseconds.
const defaultPeriod = 100_000

// limit sets the limits, and reads back what holds then.
func (g *Group) limit(l isolation.Limits) error {
	if l.Memory > 0 {
		if err := g.set("memory.max", strconv.FormatInt(l.Memory, 10), atMost(l.Memory)); err != nil {
			return err
		}
	}
	if err := g.limitSwap(l); err != nil {
		return err
	}
	if l.CPUShares > 0 {
		weight := strconv.FormatInt(weight(l.CPUShares), 10)
		if err := g.set("cpu.weight", weight, is(weight)); err != nil {
			return err
		}
	}
	if l.CPUQuota != 0 || l.CPUPeriod != 0 {
		quota, period := "max", int64(defaultPeriod)
		if l.CPUQuota > 0 {
			quota = strconv.FormatInt(l.CPUQuota, 10)
		}
		if l.CPUPeriod > 0 {
			period = l.CPUPeriod
		}
		text := quota + " " + strconv.FormatInt(period, 10)
		if err := g.set("cpu.max", text, is(text)); err != nil {
			return err
		}
	}
	for file, list := range map[string]string{"cpuset.cpus": l.CPUs, "cpuset.mems": l.Memories} {
		if list == "" {
			continue
		}
		if err := g.set(file, list, nil); err != nil {
			return err
		}
		// What the machine does not have is taken, and has no effect.
		if got, err := readAt(g.dir, file+".effective"); err != nil || !sameRanges(got, list) {
			return &errdefs.HostError{Missing: fmt.Sprintf("the control group is to have %s=%s, and has %s", file, list, got), Remedy: "ask for what this machine and the group of oakum have"}
		}
	}
	return nil
}

// limitSwap: as Docker's, the limit is the sum of memory and swap, and without one there is as much
// swap as memory. On a machine without a limit of swap only one that was asked for is an error.
func (g *Group) limitSwap(l isolation.Limits) error {
	if l.Memory == 0 || l.MemorySwap < 0 {
		return nil
	}
	swap := l.Memory
	if l.MemorySwap > 0 {
		swap = l.MemorySwap - l.Memory
	}
	err := g.set("memory.swap.max", strconv.FormatInt(swap, 10), atMost(swap))
	if errors.Is(err, fs.ErrNotExist) {
		if l.MemorySwap == 0 {
			return nil
		}
		return &errdefs.HostError{Missing: "this machine's kernel keeps no account of swap, so that it cannot be limited", Remedy: "start it with swapaccount=1, or leave the limit of swap out"}
	}
	return err
}

// set writes a file of the group, and looks whether it then says what it should.
func (g *Group) set(file, text string, right func(string) bool) error {
	if err := writeAt(g.dir, file, text); err != nil {
		return fmt.Errorf("limiting the command by %s=%s: %w", file, text, err)
	}
	got, err := readAt(g.dir, file)
	if err == nil && right != nil && !right(got) {
		return &errdefs.HostError{Missing: fmt.Sprintf("the limit %s was to be %q, and this machine made it %q", file, text, got), Remedy: "leave it out"}
	}
	return err
}

func is(text string) func(string) bool { return func(got string) bool { return got == text } }

// atMost is right for a number of bytes that was cut to whole pages.
func atMost(bytes int64) func(string) bool {
	return func(got string) bool {
		n, err := strconv.ParseInt(got, 10, 64)
		return err == nil && n <= bytes && bytes-n < int64(os.Getpagesize())
	}
}

// weight makes a weight of cgroup v2, from 1 to 10000, of Docker's shares, so that a group with the
// default of the one, 1024, has the default of the other, 100, and twice as many are twice the weight.
func weight(shares int64) int64 { return min(max(shares*100/1024, 1), 10000) }

// sameRanges compares two lists of numbers like 0-3,5.
func sameRanges(a, b string) bool {
	one, other := numbers(a), numbers(b)
	if len(one) != len(other) {
		return false
	}
	for n := range one {
		if !other[n] {
			return false
		}
	}
	return true
}

func numbers(list string) map[uint64]bool {
	out := map[uint64]bool{}
	for part := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(part, "-")
		first, err := strconv.ParseUint(from, 10, 16)
		last := first
		if isRange && err == nil {
			last, err = strconv.ParseUint(to, 10, 16)
		}
		for ; err == nil && first <= last; first++ {
			out[first] = true
		}
	}
	return out
}
