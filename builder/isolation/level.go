package isolation

import (
	"fmt"

	"github.com/oakum-build/oakum/builder/limits"
)

// Level is how far commands are kept apart from the machine.
type Level int

// The levels, each of which keeps more apart than the one before it.
const (
	// NoCommands is where no command can be run: all else works.
	NoCommands Level = iota
	// Chroot is a root directory of the command's own, with the capabilities and the system-call filter of
	// the other levels. Processes, network and the machine's name are shared with whoever runs oakum, and
	// nothing is mounted. It keeps a command from harm by mistake, and not from what it is meant to do.
	Chroot
	// Reduced is namespaces, but that of processes, since the machine refuses a /proc that shows a new one.
	Reduced
	// Full is namespaces.
	Full
)

var levels = []string{"none", "chroot", "reduced", "full"}

func (l Level) String() string {
	if l < 0 || int(l) >= len(levels) {
		return fmt.Sprintf("Level(%d)", int(l))
	}
	return levels[l]
}

// MarshalText gives what String does.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText takes what String gives.
func (l *Level) UnmarshalText(text []byte) error {
	for i, name := range levels {
		if name == string(text) {
			*l = Level(i)
			return nil
		}
	}
	return fmt.Errorf("%w: isolation %q: it is none, chroot, reduced or full", limits.ErrInvalid, text)
}

// Choice says which levels will do for a Builder. The best that the machine has is taken. The zero value
// takes anything.
type Choice struct {
	// Least is the level below which nothing is to be done: Open fails where it cannot be had.
	Least Level
	// Most is the best level that is wanted; 0 is Full. With Chroot the worker has no namespaces at all and
	// mounts nothing, on a machine that would allow it too; then images are kept as where nothing is
	// allowed, apart from those that it sees otherwise (storage.DriverTree).
	Most Level
}

// Check gives the error of a Choice that nothing can satisfy, which matches limits.ErrInvalid.
func (c Choice) Check() error {
	for _, l := range []Level{c.Least, c.Most} {
		if l < NoCommands || l > Full {
			return fmt.Errorf("%w: isolation %s is not known", limits.ErrInvalid, l)
		}
	}
	if c.Most != 0 && c.Least > c.Most {
		return fmt.Errorf("%w: isolation of at least %s and at most %s", limits.ErrInvalid, c.Least, c.Most)
	}
	return nil
}

// Plain says that no namespaces are wanted.
func (c Choice) Plain() bool { return c.Most == Chroot }
