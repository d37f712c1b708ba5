package isolation

import "github.com/oakum-build/oakum/builder/machine"

// Means are what a program and its machine have for commands.
type Means struct {
	// Worker says in words what the process has that builds, and Level how far commands are kept apart.
	// Probes are what was tried.
	Worker string
	Level  Level
	Probes []machine.Probe
	// Sandboxes are those by which a command can be run, the default one first.
	Sandboxes []Sandbox
	// Network is what a command has that asks for none in particular: Private, and then Through names
	// the program that connects it, or Host, and then NotPrivate says why and what to do.
	Network             Mode
	Through, NotPrivate string
	// Controllers are those of control groups by which limits are kept; NotLimited says why there are
	// none, and what to do.
	Controllers []string
	NotLimited  string
	// Emulators are the architectures, beside the machine's own, of whose images programs can be run.
	Emulators []string
}
