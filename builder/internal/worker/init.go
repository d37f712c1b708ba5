//go:build linux

package worker

import (
	"os"

	"github.com/oakum-build/oakum/builder/internal/nsenter"
	_ "github.com/oakum-build/oakum/builder/internal/runinit" // containers' first processes
	"github.com/oakum-build/oakum/storage"
)

// init turns a re-executed binary into what it was started for and never returns
// then; for every other process it does nothing. Each guard is a private environment
// variable, so that no program's own arguments are taken for ours; package nsenter has
// taken it away unless it came from our own parent.
func init() {
	switch {
	case os.Getenv(nsenter.EnvMode) != "":
		storage.Helper(os.Exit) // containers/storage refuses to start subprocesses without it
		os.Exit(Main())
	case os.Getenv(nsenter.EnvChild) != "":
		if storage.Helper(os.Exit) {
			os.Exit(0)
		}
	}
}
