//go:build linux

package worker

import (
	"os"

	"go.podman.io/storage/pkg/reexec"

	"github.com/oakum-build/oakum/builder/internal/nsenter"
	_ "github.com/oakum-build/oakum/builder/internal/runinit" // containers' first processes
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
		reexec.Init() // containers/storage refuses to start subprocesses without it
		os.Exit(Main())
	case os.Getenv(childEnv) != "":
		if reexec.Init() {
			os.Exit(0)
		}
	}
}
