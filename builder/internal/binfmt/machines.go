//go:build linux

package binfmt

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// machine is what the kernel tells the programs of an architecture by, and what QEMU calls it.
type machine struct {
	qemu  string
	class byte // ELFCLASS32 or ELFCLASS64
	data  byte // ELFDATA2LSB or ELFDATA2MSB
	code  uint16
}

const (
	bits32, bits64    = 1, 2
	little, big       = 1, 2
	headerLen         = 20 // of an ELF header, up to the machine
	osABI, kind, code = 7, 16, 18
)

// machines are the architectures by their names in images, which are Go's.
var machines = map[string]machine{
	"386":      {"i386", bits32, little, 3},
	"amd64":    {"x86_64", bits64, little, 62},
	"arm":      {"arm", bits32, little, 40},
	"arm64":    {"aarch64", bits64, little, 183},
	"loong64":  {"loongarch64", bits64, little, 258},
	"mips":     {"mips", bits32, big, 8},
	"mipsle":   {"mipsel", bits32, little, 8},
	"mips64":   {"mips64", bits64, big, 8},
	"mips64le": {"mips64el", bits64, little, 8},
	"ppc64":    {"ppc64", bits64, big, 21},
	"ppc64le":  {"ppc64le", bits64, little, 21},
	"riscv64":  {"riscv64", bits64, little, 243},
	"s390x":    {"s390x", bits64, big, 22},
}

// header is the beginning of a program (ELF specification, "ELF Header"): of an executable
// file for System V's ABI.
func (m machine) header() []byte {
	h := make([]byte, headerLen)
	copy(h, []byte{0x7f, 'E', 'L', 'F', m.class, m.data, 1})
	order := m.order()
	order.PutUint16(h[kind:], 2) // ET_EXEC
	order.PutUint16(h[code:], m.code)
	return h
}

func (m machine) order() binary.ByteOrder {
	if m.data == big {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// mask says which bits of a header count: not those of the ABI and its version, nor the one
// that tells an executable from one that can be loaded anywhere, ET_DYN.
func (m machine) mask() []byte {
	mask := make([]byte, headerLen)
	for i := range osABI {
		mask[i] = 0xff
	}
	m.order().PutUint16(mask[kind:], 0xfffe)
	m.order().PutUint16(mask[code:], 0xffff)
	return mask
}

// registration is the line that tells the kernel of an interpreter (the kernel's
// documentation, admin-guide/binfmt-misc). P: it is told what the program was called by. O and C:
// set-user-ID programs give their owner's rights. F: it is opened now, so that commands need not
// see it.
func (m machine) registration(interpreter string) string {
	return fmt.Sprintf(":oakum-%s:M::%s:%s:%s:POCF", m.qemu, quote(m.header()), quote(m.mask()), interpreter)
}

func quote(text []byte) string {
	var b strings.Builder
	for _, c := range text {
		fmt.Fprintf(&b, `\x%02x`, c)
	}
	return b.String()
}
