//go:build linux && cgo

package runinit

// #cgo CFLAGS: -Wall
import "C"

import (
	"os"
	"runtime"
	"runtime/debug"

	"github.com/opencontainers/runc/libcontainer"
	_ "github.com/opencontainers/runc/libcontainer/nsenter" // enters the namespaces, in C
)

// init becomes the container's first process if libcontainer started this one, which
// its private variable tells: the argument alone could be a program's own command. The
// guard (guard.c) takes the variable away, before libcontainer's own constructor looks for
// it, unless it names a socket of our own parent.
func init() {
	if len(os.Args) > 1 && os.Args[1] == "init" && os.Getenv("_LIBCONTAINER_INITPIPE") != "" {
		debug.SetGCPercent(-1) // it lives for milliseconds
		runtime.GOMAXPROCS(1)
		runtime.LockOSThread()
		libcontainer.Init() // does not return
	}
}
