//go:build linux && cgo

package oci

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/sandbox"
	"github.com/oakum-build/oakum/storage/openat2"
)

// libcontainer gives a container's first process its arguments and variables as JSON,
// which has no bytes that are not UTF-8. A command that has such bytes is started by a
// launcher: a program of some instructions, made for it, that holds the arguments and
// variables and does nothing but execute the command with them.

// needsLauncher says that a command's arguments or variables are not all UTF-8.
func needsLauncher(args, env []string) bool {
	invalid := func(text string) bool { return !utf8.ValidString(text) }
	return slices.ContainsFunc(args, invalid) || slices.ContainsFunc(env, invalid)
}

// makeLauncher makes the program that starts a command, which is looked for in root as the
// command's PATH says, from the directory dir. A command that is not there is a *sandbox.StartError.
func makeLauncher(root *os.File, dir string, args, env []string) ([]byte, error) {
	file, err := lookPath(root, dir, args[0], env)
	if err != nil {
		return nil, err
	}
	code, ok := launchers[runtime.GOARCH]
	if !ok {
		return nil, fmt.Errorf("arguments and variables that are not UTF-8, on %s: %w", runtime.GOARCH, errors.ErrUnsupported)
	}
	return link(code, file, args, env), nil
}

// lookPath finds a command as a shell does.
func lookPath(root *os.File, dir, name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		at := name
		if !path.IsAbs(name) {
			at = dir + "/" + name
		}
		if err := executable(root, at); err != nil {
			return "", err
		}
		return name, nil
	}
	var denied error
	for _, entry := range env {
		list, isPath := strings.CutPrefix(entry, "PATH=")
		if !isPath {
			continue
		}
		for at := range strings.SplitSeq(list, ":") {
			if !path.IsAbs(at) {
				continue // os/exec finds nothing there either
			}
			err := executable(root, at+"/"+name)
			if err == nil {
				return at + "/" + name, nil
			}
			var start *sandbox.StartError
			if errors.As(err, &start) && start.Code == 126 {
				denied = err
			}
		}
	}
	if denied != nil {
		return "", denied
	}
	return "", &sandbox.StartError{Code: 127, Err: errors.New("executable file not found in $PATH")}
}

// executable gives a *sandbox.StartError for a file inside root that is not there or no program.
func executable(root *os.File, name string) error {
	fd, err := openat2.Open(int(root.Fd()), name, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return &sandbox.StartError{Code: 127, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &os.PathError{Op: "stat", Path: name, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o111 == 0 {
		return &sandbox.StartError{Code: 126, Err: unix.EACCES}
	}
	return nil
}

// origin is where a launcher is loaded.
const origin = 0x400000

// instructions make the code of an architecture that executes the file with args and env,
// all of them addresses, or ends with status 126.
type instructions struct {
	machine uint16 // of ELF
	code    func(file, args, env uint32) []byte
}

var launchers = map[string]instructions{
	"amd64": {62, func(file, args, env uint32) []byte {
		var c []byte
		for i, address := range []uint32{file, args, env} {
			c = binary.LittleEndian.AppendUint32(append(c, []byte{0xbf, 0xbe, 0xba}[i]), address) // mov edi, esi, edx
		}
		return append(c,
			0xb8, 59, 0, 0, 0, 0x0f, 0x05, // mov eax, execve; syscall
			0xbf, 126, 0, 0, 0, 0xb8, 231, 0, 0, 0, 0x0f, 0x05) // mov edi, 126; mov eax, exit_group; syscall
	}},
	"arm64": {183, func(file, args, env uint32) []byte {
		var c []byte
		move := func(register, value uint32) {
			c = binary.LittleEndian.AppendUint32(c, 0xd2800000|value&0xffff<<5|register) // movz
			c = binary.LittleEndian.AppendUint32(c, 0xf2a00000|value>>16<<5|register)    // movk, lsl 16
		}
		call := func(number uint32) {
			move(8, number)
			c = binary.LittleEndian.AppendUint32(c, 0xd4000001) // svc
		}
		move(0, file)
		move(1, args)
		move(2, env)
		call(221) // execve
		move(0, 126)
		call(94) // exit_group
		return c
	}},
}

// link makes an ELF program of code and what it refers to: one segment, which is the whole
// file.
func link(in instructions, file string, args, env []string) []byte {
	const headers = 64 + 56 // of the file, and of the segment
	size := headers + uint32(len(in.code(0, 0, 0)))
	pad := (8 - size%8) % 8
	argv := origin + size + pad
	envp := argv + 8*uint32(len(args)+1)
	text := envp + 8*uint32(len(env)+1)

	var pointers, texts []byte
	for _, list := range [][]string{args, env} {
		for _, s := range list {
			pointers = binary.LittleEndian.AppendUint64(pointers, uint64(text)+uint64(len(texts)))
			texts = append(append(texts, s...), 0)
		}
		pointers = binary.LittleEndian.AppendUint64(pointers, 0)
	}
	name := text + uint32(len(texts))
	texts = append(append(texts, file...), 0)
	length := uint64(size+pad) + uint64(len(pointers)+len(texts))

	var b bytes.Buffer
	for _, field := range []any{
		[16]byte{0x7f, 'E', 'L', 'F', 2, 1, 1}, uint16(2), in.machine, uint32(1), // an executable of 64 bits
		uint64(origin + headers), uint64(64), uint64(0), uint32(0), uint16(64), uint16(56), uint16(1), uint16(0), uint16(0), uint16(0),
		uint32(1), uint32(5), uint64(0), uint64(origin), uint64(origin), length, length, uint64(0x1000), // loaded to be read and executed
		in.code(name, argv, envp), make([]byte, pad), pointers, texts,
	} {
		_ = binary.Write(&b, binary.LittleEndian, field) // of fixed sizes, into memory
	}
	return b.Bytes()
}
