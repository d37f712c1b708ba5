//go:build linux

package filter

import (
	"fmt"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data (seccomp(2)).
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArgs   = 16
)

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func result(action uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
}

// jump skips yes instructions when the test holds for what is loaded, and else no. What a test
// cannot skip by itself is skipped by a further instruction.
func jump(test uint16, k uint32, yes, no int) []unix.SockFilter {
	const far = 255
	if yes <= far && no <= far {
		return []unix.SockFilter{{Code: unix.BPF_JMP | unix.BPF_K | test, K: k, Jt: uint8(yes), Jf: uint8(no)}}
	}
	return []unix.SockFilter{
		{Code: unix.BPF_JMP | unix.BPF_K | test, K: k, Jf: 1},
		{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(yes + 1)},
		{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(no)},
	}
}

// skipUnless puts code behind a test that skips it unless what is loaded is k.
func skipUnless(k uint32, code []unix.SockFilter) []unix.SockFilter {
	return append(jump(unix.BPF_JEQ, k, 0, len(code)), code...)
}

// test is a condition about an argument as one architecture has it.
type test struct {
	specs.LinuxSeccompArg
	// narrow says that arguments have 32 bits. As libseccomp does, values are then cut to that.
	narrow bool
}

// skip skips yes instructions when the condition holds, and else no. Arguments have 64 bits, and the
// kernel's program sees 32 at once.
func (c test) skip(yes, no int) ([]unix.SockFilter, error) {
	switch c.Op {
	case specs.OpEqualTo:
		return c.equal(^uint64(0), c.Value, yes, no), nil
	case specs.OpNotEqual:
		return c.equal(^uint64(0), c.Value, no, yes), nil
	case specs.OpMaskedEqual:
		return c.equal(c.Value, c.ValueTwo, yes, no), nil
	case specs.OpGreaterThan:
		return c.greater(unix.BPF_JGT, yes, no), nil
	case specs.OpGreaterEqual:
		return c.greater(unix.BPF_JGE, yes, no), nil
	case specs.OpLessEqual:
		return c.greater(unix.BPF_JGT, no, yes), nil
	case specs.OpLessThan:
		return c.greater(unix.BPF_JGE, no, yes), nil
	}
	return nil, fmt.Errorf("%w: operator %q is not known", ErrProfile, c.Op)
}

// equal skips yes instructions when the bits of the argument that a mask has are value.
func (c test) equal(mask, value uint64, yes, no int) []unix.SockFilter {
	half := func(offset, mask, value uint32, yes, no int) []unix.SockFilter {
		code := []unix.SockFilter{load(offset)}
		if mask != ^uint32(0) {
			code = append(code, unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: mask})
		}
		return append(code, jump(unix.BPF_JEQ, value, yes, no)...)
	}
	low := half(lowHalf(c.Index), uint32(mask), uint32(value), yes, no)
	if c.narrow {
		return low
	}
	return slices.Concat(half(highHalf(c.Index), uint32(mask>>32), uint32(value>>32), 0, len(low)+no), low)
}

// greater skips yes instructions when the argument is greater than the value by the test that the
// lower halves are given.
func (c test) greater(test uint16, yes, no int) []unix.SockFilter {
	high, low := uint32(c.Value>>32), uint32(c.Value)
	lower := append([]unix.SockFilter{load(lowHalf(c.Index))}, jump(test, low, yes, no)...)
	if c.narrow {
		return lower
	}
	same := jump(unix.BPF_JEQ, high, 0, len(lower)+no)
	more := jump(unix.BPF_JGT, high, len(same)+len(lower)+yes, 0)
	return slices.Concat([]unix.SockFilter{load(highHalf(c.Index))}, more, same, lower)
}
