//go:build linux && (amd64 || arm64)

// Package tinyelf makes programs of a few instructions, which are part of this program. Such a program starts
// in a tenth of a millisecond, where this one takes ten, and has nothing of this one's memory.
package tinyelf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Program is the code at an address of this program, of a length that is no less than the code's, as an ELF
// program of one segment, which is the whole file. The code must run wherever it lies.
func Program(at uintptr, size int) []byte {
	const headers, origin = 64 + 56, 0x400000
	machine := map[string]uint16{"amd64": 62, "arm64": 183}[runtime.GOARCH]
	code := unsafe.Slice(*(**byte)(unsafe.Pointer(&at)), size) // it is no memory of Go's
	var b bytes.Buffer
	for _, field := range []any{
		[16]byte{0x7f, 'E', 'L', 'F', 2, 1, 1}, uint16(2), machine, uint32(1), // an executable of 64 bits
		uint64(origin + headers), uint64(64), uint64(0), uint32(0), uint16(64), uint16(56), uint16(1), uint16(0), uint16(0), uint16(0),
		uint32(1), uint32(5), uint64(0), uint64(origin), uint64(origin), uint64(headers + size), uint64(headers + size), uint64(0x1000),
		code,
	} {
		_ = binary.Write(&b, binary.LittleEndian, field) // of fixed sizes, into memory
	}
	return b.Bytes()
}

// InMemory writes a program to a file in memory, which nobody can change any more.
func InMemory(name string, program []byte) (*os.File, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(name, flags|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3 all of them can be executed
		fd, err = unix.MemfdCreate(name, flags)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err = f.Write(program); err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
		err = os.NewSyscallError("fcntl", err)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
