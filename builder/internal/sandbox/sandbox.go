//go:build linux

// Package sandbox is the contract of what runs a build's commands apart from the machine.
// How that is done, by which namespaces, mounts, filters and capabilities, is known to the
// implementations alone: package oci has libcontainer's. Each passes the suite of package
// sandboxtest, and one place in package worker chooses among them.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/passwd"
	"github.com/oakum-build/oakum/builder/isolation"
)

// Sandbox runs commands. Its methods may be called from many goroutines at once, in a
// process that is root of its user namespace, has a mount namespace that nobody else is in,
// and sees its own PID namespace in /proc. The process's main thread must be locked to its
// main goroutine, as it is while init functions run: a sandbox puts threads into the
// namespaces of commands and throws them away, which cannot be done with that one.
type Sandbox interface {
	// Run runs a command and gives its exit status, which is 128+n when signal n ended it.
	// When Run returns, no process of the command is left, nothing of it is mounted, and
	// nothing is written any more, also when ctx has ended it; then the error is ctx's.
	// A command that cannot be executed is a *StartError, one that makes no sense matches
	// ErrInvalid, and a machine that allows no sandbox is a *HostError.
	//
	// Whoever is root in the command is the caller's root to the files below Root, as far as
	// the command's capabilities go.
	Run(ctx context.Context, c Command) (int, error)

	// MountPoints are the paths of the root file system over which Run mounts something for
	// a command, of which only Mounts, Devices and Network.NoHosts are looked at. Each must be there in Root before Run:
	// directories, whose paths end in a slash, and files. Nothing is written to them.
	MountPoints(c Command) []string

	// Fills says that Run can mount nothing, and puts files into the mount points instead, where
	// they are when it returns: the caller has emptied them before (workspace.Change.Fill), and takes
	// away what is there afterwards. Only what a Mount says to be Owned is back at its Source.
	Fills() bool

	// Isolation says what keeps commands apart from this machine. It is what they get, not
	// what would be desirable: the suite compares it with what a command sees.
	Isolation() (Isolation, error)
}

// Command is what to run, where, and with what.
type Command struct {
	Process Process
	Root    Root
	Mounts  []Mount // in this order, after those that every command has
	Network Network
	// Hostname is the machine's name inside; "" is DefaultHostname.
	Hostname string
	Stdio    Stdio
	// Users is a user namespace for the command, whose ids are the caller's, and which the caller
	// was allowed to make. nil is one of the sandbox's choice.
	Users    *os.File
	Security isolation.Security
	// Limits are those of isolation.Options but for what a control group limits. One that cannot be kept
	// is a *HostError.
	Limits isolation.Limits
	// Cgroup is the cgroup.procs of the control group for the command's processes, opened for writing;
	// nil leaves them in the caller's.
	Cgroup  *os.File
	Devices []Device
}

// Device is one of the machine's that a command may use beside those that all may.
type Device struct {
	Path   string // of its node here, without links in it
	Target string // where the command sees it
}

// Process is the command's first process.
type Process struct {
	// Args are the command's name and its arguments, of any bytes but NUL. The name is
	// looked for in the PATH of Env unless it has a slash.
	Args []string
	Env  []string // the whole environment; HOME is there
	Dir  string   // an absolute path in the root file system, made when it is missing
	User passwd.User
}

// Root is the root file system.
type Root struct {
	// Path is where the caller has it, without links in it, and such that nobody can put
	// something else in its place.
	Path string
	// I386 says that it is for 32-bit x86, so that programs of that kind must be able to
	// run on x86-64. They are, too, where it has a dynamic linker for them.
	I386 bool
}

// Mount is something that a command sees over a path of its root file system. It is never a
// device, and set-user-ID programs in it give nobody another user.
type Mount struct {
	Kind MountKind
	// Source is what is seen of BindFile and BindDir, where the caller has it; as Root.Path, nobody
	// can exchange it.
	Source string
	// Memory is what is seen of MemoryFile: a file that is in memory alone and cannot be changed, with the owner and
	// mode that it is to have.
	Memory *os.File
	// Target is an absolute path. Links in it are followed inside the root file system. In what was
	// mounted before, it is made where it is missing.
	Target   string
	ReadOnly bool
	// Owned says that nobody else uses Source meanwhile, which may so be moved to the Target for the
	// time. Else a sandbox that can mount nothing shows a copy, to which what the command writes is lost.
	Owned bool
	// Size in bytes, 0 for half of the memory, and Mode, 0 for 1777, are of Tmpfs.
	Size int64
	Mode os.FileMode
}

// MountKind is what a Mount is.
type MountKind int

// A file or directory of the caller's, an empty directory in memory, or a file that no file system has, which only a
// sandbox that fills mount points can show: others bind one of a tmpfs.
const (
	BindFile MountKind = iota + 1
	BindDir
	Tmpfs
	MemoryFile
)

// IsFile says whether it is a file, and not a directory.
func (k MountKind) IsFile() bool { return k == BindFile || k == MemoryFile }

// Network is which network a command has, and what it is told of it.
type Network struct {
	// Namespace is the network namespace that the command gets, which the caller has connected or
	// not; nil is the caller's own. The command's /sys is that namespace's where the caller may mount
	// it, and it may be given to another command afterwards.
	Namespace *os.File
	// NoHosts leaves the root file system's own /etc/hosts.
	NoHosts bool
	// Hosts and Resolv are the texts of /etc/hosts, to which the name of the command's own
	// machine is added, and of /etc/resolv.conf. The command may change these files; what
	// it writes to them is lost.
	Hosts, Resolv string
}

// Stdio are a command's standard files.
type Stdio struct {
	// In, Out and Err become the command's own, to which it may do anything: pipes. They are
	// nil with a Terminal.
	In, Out, Err *os.File
	Terminal     *Terminal
}

// Terminal is a new terminal, of which the command gets the one end for its three standard
// files.
type Terminal struct {
	Socket        *os.File // on which its other end is sent
	Rows, Columns uint16   // 0 leaves them as they are
}

// DefaultHostname is the same in every build, so that it cannot make two builds differ.
const DefaultHostname = "oakum"

// Isolation is what keeps commands apart from the machine.
type Isolation struct {
	Name string // of the implementation
	// Namespaces are those that each command gets of its own, by their names in
	// /proc/PID/ns. Where "net" is not among them, it gets Network.Namespace or the machine's.
	Namespaces []string
	// Filter is the name of the system-call filter; "docker" is Docker's default.
	Filter string
	// Capabilities are those of root. Another user has none, and gains no more than these
	// by set-user-ID programs and file capabilities.
	Capabilities []string
	// Devices are those of the machine that commands may use.
	Devices []string
	// Masked are paths that are empty to commands, and ReadOnly those that they cannot
	// change, as far as the machine has them.
	Masked, ReadOnly []string
	// Scoped says that commands reach abstract sockets and processes of their own alone.
	Scoped bool
	// NoNewPrivileges says that set-user-ID programs and file capabilities give no command more rights.
	NoNewPrivileges bool
	// Without is what commands have to do without that the best sandbox gives them, or keeps them from.
	Without []string
}

// StartError is a command that could not be started: it does not exist or may not be
// executed. Code is the shell's status for that, 127 or 126.
type StartError struct {
	Code int
	Err  error
}

func (e *StartError) Error() string { return e.Err.Error() }
func (e *StartError) Unwrap() error { return e.Err }

// HostError says what the machine or the program lacks to run commands.
type HostError struct {
	Missing string
	Remedy  string // what its owner can do about it
}

func (e *HostError) Error() string { return e.Missing }

// Fix is the remedy, as of all errors that have one.
func (e *HostError) Fix() string { return e.Remedy }

// ErrInvalid is matched by the errors of commands that make no sense.
var ErrInvalid = fmt.Errorf("%w: command", errdefs.ErrInvalid)

// Check gives the error of a command that makes no sense. Every implementation asks it
// before anything else.
func (c Command) Check() error {
	p := c.Process
	if len(p.Args) == 0 || p.Args[0] == "" {
		return fmt.Errorf("%w: it has no name", ErrInvalid)
	}
	if slices.ContainsFunc(slices.Concat(p.Args, p.Env), func(text string) bool { return strings.Contains(text, "\x00") }) {
		return fmt.Errorf("%w: an argument or variable has a NUL in it", ErrInvalid)
	}
	for _, dir := range []string{p.Dir, c.Root.Path} {
		if !path.IsAbs(dir) {
			return fmt.Errorf("%w: %q is no absolute path", ErrInvalid, dir)
		}
	}
	for _, m := range c.Mounts {
		if err := m.check(); err != nil {
			return err
		}
	}
	for _, d := range c.Devices {
		if parsed, err := isolation.ParseDevice(d.Path + ":" + d.Target); err != nil || parsed != (isolation.Device{Path: d.Path, Target: d.Target}) {
			return fmt.Errorf("%w: device %q at %q: %w", ErrInvalid, d.Path, d.Target, err)
		}
	}
	if err := errors.Join(c.Security.Check(), c.Limits.Check()); err != nil {
		return err
	}
	if s := c.Stdio; (s.Terminal == nil) == (s.In == nil || s.Out == nil || s.Err == nil) {
		return fmt.Errorf("%w: it needs three standard files, or a terminal", ErrInvalid)
	}
	return nil
}

// Mountable gives the error of a command that only a sandbox that fills mount points can run. All others ask it.
func (c Command) Mountable() error {
	for _, m := range c.Mounts {
		if m.Kind == MemoryFile {
			return fmt.Errorf("%w: mount on %q: a file without a file system cannot be mounted", ErrInvalid, m.Target)
		}
	}
	return nil
}

// check refuses, too, what would hide from a command's process what it is told of itself
// and of the machine, or show what it must not see of them.
func (m Mount) check() error {
	if m.Kind < BindFile || m.Kind > MemoryFile || (m.Kind == MemoryFile) != (m.Memory != nil) {
		return fmt.Errorf("%w: mount of an unknown kind, %d", ErrInvalid, m.Kind)
	}
	bound := m.Kind == BindFile || m.Kind == BindDir
	if bound != (m.Source != "") || m.Size < 0 || m.Mode&^(os.ModePerm|os.ModeSticky) != 0 {
		return fmt.Errorf("%w: mount on %q: a tmpfs has no source, a size and the bits of a mode", ErrInvalid, m.Target)
	}
	if bound && !path.IsAbs(m.Source) || !path.IsAbs(m.Target) {
		return fmt.Errorf("%w: mount of %q on %q: both must be absolute paths", ErrInvalid, m.Source, m.Target)
	}
	switch target := path.Clean(m.Target) + "/"; {
	case target == "//", target == "/dev/", strings.HasPrefix(target, "/proc/"), strings.HasPrefix(target, "/sys/"):
		return fmt.Errorf("%w: nothing can be mounted on %s", ErrInvalid, m.Target)
	}
	return nil
}

// None is the sandbox of who has none: every command is refused.
type None struct{ Why HostError }

// Run gives the reason.
func (n None) Run(context.Context, Command) (int, error) { return 0, &n.Why }

// MountPoints are none.
func (None) MountPoints(Command) []string { return nil }

// Fills is false.
func (None) Fills() bool { return false }

// Isolation gives the reason.
func (n None) Isolation() (Isolation, error) { return Isolation{}, &n.Why }
