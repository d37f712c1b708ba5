//go:build linux

package filter

import (
	"embed"
	"encoding/binary"
	"fmt"
	"runtime"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// architecture is a way to make system calls.
type architecture struct {
	goarch string // whose file has the numbers
	audit  uint32 // as the kernel names it
	x32    bool   // some of its numbers are the x32 ABI's
	narrow bool   // arguments have 32 bits
}

// architectures are those of kernels that this program runs on, and those of the programs that
// such kernels run besides.
var architectures = map[specs.Arch]architecture{
	specs.ArchX86_64:      {"amd64", unix.AUDIT_ARCH_X86_64, true, false},
	specs.ArchX86:         {"386", unix.AUDIT_ARCH_I386, false, true},
	specs.ArchAARCH64:     {"arm64", unix.AUDIT_ARCH_AARCH64, false, false},
	specs.ArchARM:         {"arm", unix.AUDIT_ARCH_ARM, false, true},
	specs.ArchRISCV64:     {"riscv64", unix.AUDIT_ARCH_RISCV64, false, false},
	specs.ArchPPC64LE:     {"ppc64le", unix.AUDIT_ARCH_PPC64LE, false, false},
	specs.ArchS390X:       {"s390x", unix.AUDIT_ARCH_S390X, false, false},
	specs.ArchLOONGARCH64: {"loong64", unix.AUDIT_ARCH_LOONGARCH64, false, false},
}

// native is the architecture of this machine's kernel.
var native = func() specs.Arch {
	for name, a := range architectures {
		if a.goarch == runtime.GOARCH {
			return name
		}
	}
	return ""
}()

// calls are the names and numbers of each architecture's calls, a line each.
//
//go:embed calls/*.txt
var calls embed.FS

// numbers are those of the calls of an architecture.
func (a architecture) numbers() (map[string]uint32, error) {
	data, err := calls.ReadFile("calls/" + a.goarch + ".txt")
	if err != nil {
		return nil, err
	}
	out := make(map[string]uint32, 512)
	for line := range strings.Lines(string(data)) {
		name, number, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.ParseUint(number, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("system calls of %s: %w", a.goarch, err)
		}
		out[name] = uint32(n)
	}
	return out, nil
}

// bigEndian says in which order the halves of an argument are in memory.
var bigEndian = binary.NativeEndian.Uint16([]byte{0, 1}) == 1

func lowHalf(index uint) uint32 {
	if bigEndian {
		return offsetArgs + 8*uint32(index) + 4
	}
	return offsetArgs + 8*uint32(index)
}

func highHalf(index uint) uint32 {
	if bigEndian {
		return offsetArgs + 8*uint32(index)
	}
	return offsetArgs + 8*uint32(index) + 4
}
