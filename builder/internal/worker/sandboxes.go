//go:build linux

package worker

import (
	"path/filepath"
	"sync"

	"github.com/oakum-build/oakum/builder/internal/sandbox"
	"github.com/oakum-build/oakum/builder/internal/sandbox/thread"
	"github.com/oakum-build/oakum/builder/isolation"
)

// brought are the sandboxes that packages of the program brought along while it was initialised.
var brought = map[isolation.Sandbox]func(dir string) sandbox.Sandbox{}

// Register makes a sandbox known by its name. It is called by init functions alone, before Enter.
func Register(name isolation.Sandbox, make func(dir string) sandbox.Sandbox) { brought[name] = make }

// sandboxes are those of this worker, each made when the first command wants it. The directory, on
// the worker's tmpfs, is theirs.
type sandboxes struct {
	level isolation.Level
	why   sandbox.HostError // why the level is not better
	dir   string
	mu    sync.Mutex
	made  map[isolation.Sandbox]sandbox.Sandbox
}

// get is the one place that chooses how a command is kept apart from the machine.
func (s *sandboxes) get(name isolation.Sandbox) sandbox.Sandbox {
	s.mu.Lock()
	defer s.mu.Unlock()
	if name == isolation.Default && s.level > isolation.Chroot {
		name = isolation.Thread
	}
	if one, done := s.made[name]; done {
		return one
	}
	if s.made == nil {
		s.made = map[isolation.Sandbox]sandbox.Sandbox{}
	}
	one := s.make(name)
	s.made[name] = one
	return one
}

func (s *sandboxes) make(name isolation.Sandbox) sandbox.Sandbox {
	switch known := brought[name]; {
	case s.level == isolation.NoCommands, s.level == isolation.Chroot && name != isolation.Default:
		return sandbox.None{Why: s.why}
	case s.level == isolation.Chroot:
		return thread.NewChroot(filepath.Join(s.dir, "chroot"))
	case s.level == isolation.Reduced && name == isolation.OCI:
		return sandbox.None{Why: s.why}
	case s.level == isolation.Reduced:
		return thread.NewShared(filepath.Join(s.dir, string(isolation.Thread)))
	case known != nil:
		return known(filepath.Join(s.dir, string(name)))
	case name == isolation.OCI:
		return sandbox.None{Why: sandbox.HostError{
			Missing: "this program has no libcontainer, which the sandbox oci is",
			Remedy:  "leave the sandbox to oakum, or use a program that was built with cgo and the tag seccomp, and imports the package builder/oci",
		}}
	}
	return thread.New(filepath.Join(s.dir, string(isolation.Thread)))
}
