//go:build linux

package worker

import (
	"os"
	"runtime"

	"github.com/opencontainers/runc/libcontainer"
	_ "github.com/opencontainers/runc/libcontainer/nsenter" // the container's namespaces
	"go.podman.io/storage/pkg/reexec"

	"github.com/oakum-build/oakum/builder/internal/nsenter"
)

// childEnv is set in the worker, and so in the processes that containers/storage
// starts from it: their names alone could be a user's own program.
const childEnv = "_OAKUM_WORKER_CHILD"

// init turns a re-executed binary into what it was started for and never returns
// then; for every other process it does nothing. Each guard is a private environment
// variable, so that no program's own arguments are taken for ours.
func init() {
	switch {
	case os.Getenv(nsenter.EnvMode) != "":
		runtime.LockOSThread()
		reexec.Init() // containers/storage refuses to start subprocesses without it
		os.Exit(Main())
	case len(os.Args) > 1 && os.Args[1] == "init" && os.Getenv("_LIBCONTAINER_INITPIPE") != "":
		runtime.GOMAXPROCS(1)
		runtime.LockOSThread()
		libcontainer.Init() // does not return
	case os.Getenv(childEnv) != "":
		if reexec.Init() {
			os.Exit(0)
		}
	}
}
