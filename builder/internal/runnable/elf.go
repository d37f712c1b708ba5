//go:build linux

package runnable

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
)

// object is what a dynamic linker goes by in an ELF file. It is found by the program
// headers, as linkers and the kernel do: section headers may be missing.
type object struct {
	class   elf.Class
	data    elf.Data
	machine elf.Machine
	osabi   elf.OSABI
	kind    elf.Type

	interp         string
	soname         string
	rpath, runpath string
	needed         []string
}

var errFormat = errors.New("not an ELF file that can be read")

// The bounds of what is read of a file.
const (
	maxHeaders = 256
	maxDynamic = 64 << 10
	maxText    = 4096
	maxNeeded  = 512
)

// segment is a program header.
type segment struct {
	kind                       elf.ProgType
	offset, address, size, mem uint64
}

// parse reads an ELF file. Whatever is wrong with it is errFormat.
func parse(r io.ReaderAt) (*object, error) {
	ident := make([]byte, 64)
	n, err := r.ReadAt(ident, 0)
	if (err != nil && err != io.EOF) || n < 52 || string(ident[:4]) != elf.ELFMAG {
		return nil, errFormat
	}
	o := &object{class: elf.Class(ident[4]), data: elf.Data(ident[5]), osabi: elf.OSABI(ident[7])}
	var order binary.ByteOrder
	switch o.data {
	case elf.ELFDATA2LSB:
		order = binary.LittleEndian
	case elf.ELFDATA2MSB:
		order = binary.BigEndian
	default:
		return nil, errFormat
	}
	o.kind, o.machine = elf.Type(order.Uint16(ident[16:])), elf.Machine(order.Uint16(ident[18:]))
	segments, err := segments(r, ident[:n], o.class, order)
	if err != nil {
		return nil, err
	}
	for _, s := range segments {
		switch s.kind {
		case elf.PT_INTERP:
			o.interp, err = text(r, s.offset, min(s.size, maxText))
		case elf.PT_DYNAMIC:
			err = o.dynamic(r, s, segments, order)
		}
		if err != nil {
			return nil, err
		}
	}
	return o, nil
}

// segments reads the program headers.
func segments(r io.ReaderAt, header []byte, class elf.Class, order binary.ByteOrder) ([]segment, error) {
	var offset uint64
	var size, count int
	switch {
	case class == elf.ELFCLASS64 && len(header) == 64:
		offset, size, count = order.Uint64(header[32:]), 56, int(order.Uint16(header[56:]))
		if order.Uint16(header[54:]) != 56 {
			return nil, errFormat
		}
	case class == elf.ELFCLASS32:
		offset, size, count = uint64(order.Uint32(header[28:])), 32, int(order.Uint16(header[44:]))
		if order.Uint16(header[42:]) != 32 {
			return nil, errFormat
		}
	default:
		return nil, errFormat
	}
	if count == 0 || count > maxHeaders {
		return nil, errFormat
	}
	table, err := read(r, offset, uint64(size*count))
	if err != nil {
		return nil, err
	}
	list := make([]segment, count)
	for i := range list {
		b := table[i*size:]
		s := segment{kind: elf.ProgType(order.Uint32(b))}
		if size == 56 {
			s.offset, s.address = order.Uint64(b[8:]), order.Uint64(b[16:])
			s.size, s.mem = order.Uint64(b[32:]), order.Uint64(b[40:])
		} else {
			s.offset, s.address = uint64(order.Uint32(b[4:])), uint64(order.Uint32(b[8:]))
			s.size, s.mem = uint64(order.Uint32(b[16:])), uint64(order.Uint32(b[20:]))
		}
		list[i] = s
	}
	return list, nil
}

// dynamic reads the dynamic section.
func (o *object) dynamic(r io.ReaderAt, s segment, segments []segment, order binary.ByteOrder) error {
	table, err := read(r, s.offset, min(s.size, maxDynamic))
	if err != nil {
		return err
	}
	width := 8
	if o.class == elf.ELFCLASS32 {
		width = 4
	}
	word := func(b []byte) uint64 {
		if width == 4 {
			return uint64(order.Uint32(b))
		}
		return order.Uint64(b)
	}
	values := map[elf.DynTag][]uint64{}
	for ; len(table) >= 2*width; table = table[2*width:] {
		tag := elf.DynTag(word(table))
		if tag == elf.DT_NULL {
			break
		}
		switch tag {
		case elf.DT_NEEDED, elf.DT_SONAME, elf.DT_RPATH, elf.DT_RUNPATH, elf.DT_STRTAB:
			values[tag] = append(values[tag], word(table[width:]))
		}
	}
	if len(values[elf.DT_STRTAB]) != 1 || len(values[elf.DT_NEEDED]) > maxNeeded {
		if len(values[elf.DT_NEEDED]) == 0 {
			return nil
		}
		return errFormat
	}
	strtab, ok := fileOffset(segments, values[elf.DT_STRTAB][0])
	if !ok {
		return errFormat
	}
	return o.names(r, strtab, values)
}

// names reads what the dynamic section names in the string table.
func (o *object) names(r io.ReaderAt, strtab uint64, values map[elf.DynTag][]uint64) error {
	last := func(tag elf.DynTag) (string, error) {
		list := values[tag]
		if len(list) == 0 {
			return "", nil
		}
		return text(r, strtab+list[len(list)-1], maxText)
	}
	var err [3]error
	o.soname, err[0] = last(elf.DT_SONAME)
	o.rpath, err[1] = last(elf.DT_RPATH)
	o.runpath, err[2] = last(elf.DT_RUNPATH)
	for _, at := range values[elf.DT_NEEDED] {
		name, err := text(r, strtab+at, maxText)
		if err != nil || name == "" {
			return errFormat
		}
		o.needed = append(o.needed, name)
	}
	return errors.Join(err[:]...)
}

// fileOffset finds where in the file an address is.
func fileOffset(segments []segment, address uint64) (uint64, bool) {
	for _, s := range segments {
		if s.kind == elf.PT_LOAD && address >= s.address && address-s.address < s.size {
			return s.offset + (address - s.address), true
		}
	}
	return 0, false
}

// read reads exactly size bytes.
func read(r io.ReaderAt, offset, size uint64) ([]byte, error) {
	if offset > 1<<62 {
		return nil, errFormat
	}
	b := make([]byte, size)
	if n, err := r.ReadAt(b, int64(offset)); uint64(n) < size || (err != nil && err != io.EOF) {
		return nil, errFormat
	}
	return b, nil
}

// text reads a text that ends in a zero byte, within limit.
func text(r io.ReaderAt, offset, limit uint64) (string, error) {
	if offset > 1<<62 {
		return "", errFormat
	}
	for _, size := range []uint64{min(128, limit), limit} {
		b := make([]byte, size)
		n, err := r.ReadAt(b, int64(offset))
		if err != nil && err != io.EOF {
			return "", errFormat
		}
		if end := bytes.IndexByte(b[:n], 0); end >= 0 {
			return string(b[:end]), nil
		}
	}
	return "", errFormat
}
