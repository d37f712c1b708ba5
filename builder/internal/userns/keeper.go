//go:build linux && (amd64 || arm64)

package userns

import (
	"os"

	"github.com/oakum-build/oakum/builder/internal/tinyelf"
)

// A worker that has no PID namespace is started by a keeper, a program of some instructions:
//
//	keeper LIST PROGRAM ARGUMENT...
//
// It becomes the process to which the kernel gives those below it whose parents have died, starts the program
// as its one child, and closes all its files. When the worker has ended, however that was, the keeper kills its
// own children until it has none: that is all that the worker has left, for whatever loses its parent is the
// keeper's next. A SIGTERM, which it also gets when its parent dies, has it kill the worker first. It ends as
// the worker has. When the program cannot be executed it says 'E' and the errno on the socket of the handshake.
//
// LIST is the file of its children, /proc/thread-self/children.

// keeperSize is no less than the length of the keeper's code; what follows it is not reached.
const keeperSize = 1024

// keeperCode is where the keeper's code is.
func keeperCode() uintptr

// openKeeper opens the keeper's program.
func openKeeper() (*os.File, error) {
	return tinyelf.InMemory("oakum-keeper", tinyelf.Program(keeperCode(), keeperSize))
}
