//go:build linux

package worker

import (
	"os"

	"github.com/oakum-build/oakum/builder/internal/binfmt"
	"github.com/oakum-build/oakum/builder/internal/userns"
	"github.com/oakum-build/oakum/storage"
)

// init makes a process the worker before the program's own code runs, unless something else will
// enter it, for which it must wait.
func init() {
	if userns.Awaited == 0 {
		enter()
	}
}

// Arrived says that one of the packages that the worker waits for has been initialised. The last enters
// the worker. It is called by init functions alone.
func Arrived() {
	if userns.Awaited--; userns.Awaited == 0 {
		enter()
	}
}

// enter turns a re-executed binary into what it was started for and never returns
// then; for every other process it does nothing. What it was started for is told by private
// environment variables, so that no program's own arguments are taken for ours; they are
// taken away where they do not come from a parent of ours (userns.Judge).
func enter() {
	kind := userns.Started()
	role, strange := userns.Judge()
	for _, name := range strange {
		os.Unsetenv(name)
	}
	switch role {
	case userns.Worker:
		storage.Helper(os.Exit) // containers/storage refuses to start subprocesses without it
		os.Exit(Main(kind))
	case userns.Holder:
		binfmt.Hold(os.NewFile(userns.SyncFD, "sync"))
		os.Exit(0)
	case userns.Helper:
		if storage.Helper(os.Exit) {
			os.Exit(0)
		}
	}
}
