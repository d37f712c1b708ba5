//go:build linux

// Package sandbox runs a command in a root file system by libcontainer: in new mount,
// PID, IPC and UTS namespaces, with Docker's default capabilities, seccomp filter,
// devices and masked paths, on the host's network. It is called by the worker, which
// is already root of its user namespace and PID 1 of its own PID namespace.
package sandbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	_ "github.com/opencontainers/cgroups/devices" // libcontainer needs it registered
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Command is what to run and where.
type Command struct {
	ID       string // of letters, digits, "-" and "_"; unique in StateDir
	StateDir string // on a tmpfs
	Rootfs   string
	Args     []string
	Env      []string
	Dir      string
	User     User
	// Files are bound over absolute paths of the root file system: target to source.
	Files map[string]string
	Pipes string // a directory for /dev/pipes; "" is none
	// Hostname is the machine's name inside; "" is DefaultHostname.
	Hostname string
	// Stdin, Stdout and Stderr become the command's own, to which it may do anything:
	// pipes, or nil with a Console.
	Stdin, Stdout, Stderr *os.File
	// Console is a socket on which the master of a new terminal is sent, whose other end
	// is the command's three standard files. It has Rows and Columns unless they are 0.
	Console       *os.File
	Rows, Columns uint16
	// I386 lets 32-bit programs run on x86-64; elsewhere it changes nothing.
	I386 bool
	// Userns is the command's user namespace.
	Userns Userns
}

// User is a resolved user.
type User struct {
	UID, GID int
	Groups   []int
	Home     string
}

// StartError is a command that could not be started: it does not exist or may not be
// executed. Code is the shell's status for that, 127 or 126.
type StartError struct {
	Code int
	Err  error
}

func (e *StartError) Error() string { return e.Err.Error() }
func (e *StartError) Unwrap() error { return e.Err }

// DefaultHostname is the same in every build, so that it cannot make two builds differ.
const DefaultHostname = "oakum"

// Run runs a command and gives its exit status, 128+n when signal n ended it. When Run
// returns every process of the command is gone, also when ctx ended it.
func Run(ctx context.Context, c Command) (int, error) {
	config, err := config(c)
	if err != nil {
		return 0, err
	}
	container, err := libcontainer.Create(c.StateDir, c.ID, config)
	if err != nil {
		return 0, fmt.Errorf("creating the container: %w", err)
	}
	defer func() { _ = container.Destroy() }()
	process := &libcontainer.Process{
		Args: c.Args, Env: c.Env, Cwd: c.Dir, Init: true,
		UID: c.User.UID, GID: c.User.GID, AdditionalGroups: c.User.Groups,
		ConsoleSocket: c.Console, ConsoleHeight: c.Rows, ConsoleWidth: c.Columns,
		Capabilities: c.User.capabilities(config.Capabilities.Bounding),
	}
	if c.Console == nil {
		process.Stdin, process.Stdout, process.Stderr = c.Stdin, c.Stdout, c.Stderr
	}
	if err := start(container, process, c.I386); err != nil {
		return 0, startError(err)
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { kill(container, ended) })
	defer stop()
	state, err := process.Wait()
	close(ended)
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			return 0, fmt.Errorf("waiting for the command: %w", err)
		}
		state = exit.ProcessState
	}
	return exitCode(state), nil
}

// kill kills a container until it has ended. A signal may be refused while the runtime
// is still reading the state of a container that has only just started.
func kill(c *libcontainer.Container, ended <-chan struct{}) {
	for {
		_ = c.Signal(unix.SIGKILL)
		select {
		case <-ended:
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func exitCode(state *os.ProcessState) int {
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return state.ExitCode()
}

// startError tells a command that cannot be executed from a sandbox that cannot be
// made. libcontainer reports both as text from its child; that of exec.LookPath names
// the command, which the caller knows.
func startError(err error) error {
	_, text, _ := strings.Cut(err.Error(), "exec: ")
	name, unnamed := strconv.QuotedPrefix(text)
	if unnamed != nil {
		return fmt.Errorf("starting the container: %w", err)
	}
	text = strings.TrimPrefix(text[len(name):], ": ")
	if strings.Contains(text, "executable file not found") || strings.Contains(text, "no such file or directory") {
		return &StartError{127, errors.New(text)}
	}
	return &StartError{126, errors.New(text)}
}

// configuring is locked while libcontainer makes a configuration: for one with a user namespace
// it writes the owners of devices that all configurations share.
var configuring sync.Mutex

func config(c Command) (*configs.Config, error) {
	caps, err := c.Userns.capabilities()
	if err != nil {
		return nil, err
	}
	spec := &specs.Spec{
		Version:  specs.Version,
		Hostname: cmp.Or(c.Hostname, DefaultHostname),
		Root:     &specs.Root{Path: c.Rootfs},
		Process:  &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}},
		Mounts:   mounts(c),
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.MountNamespace}, {Type: specs.PIDNamespace},
				{Type: specs.IPCNamespace}, {Type: specs.UTSNamespace},
			},
			MaskedPaths:   c.maskedPaths(),
			ReadonlyPaths: readonlyPaths,
		},
	}
	if c.Userns.isNew() {
		spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		spec.Linux.UIDMappings, spec.Linux.GIDMappings = c.Userns.uids, c.Userns.gids
	}
	if spec.Linux.Seccomp, err = filter(spec, c.I386); err != nil {
		return nil, err
	}
	// RootlessCgroups: no cgroup is made, so none is left behind when we are killed;
	// the PID namespace is what ends the processes.
	configuring.Lock()
	conf, err := specconv.CreateLibcontainerConfig(&specconv.CreateOpts{
		CgroupName: c.ID, Spec: spec, NoNewKeyring: true, RootlessCgroups: true,
	})
	configuring.Unlock()
	if err != nil {
		return nil, fmt.Errorf("container configuration: %w", err)
	}
	conf.Devices = nil // they are among the mounts
	return conf, nil
}

func mounts(c Command) []specs.Mount {
	m := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		// 755: in a sticky /dev a bound device could not be opened by its owner's others.
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
	}
	for _, name := range devices {
		// Read-only is the node, whose mode and owner are the host's, not the device.
		m = append(m, specs.Mount{Destination: name, Type: "bind", Source: name, Options: []string{"bind", "ro", "nosuid"}})
	}
	if c.Userns.initial {
		m = append(m, specs.Mount{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}})
	} else {
		// A fresh sysfs needs a network namespace of our own.
		m = append(m, specs.Mount{Destination: "/sys", Type: "bind", Source: "/sys", Options: []string{"rbind", "rro", "rnosuid", "rnoexec", "rnodev"}})
	}
	for target, source := range c.Files {
		m = append(m, specs.Mount{Destination: filepath.Clean(target), Type: "bind", Source: source, Options: []string{"bind", "nosuid", "noexec", "nodev"}})
	}
	if c.Pipes != "" {
		m = append(m, specs.Mount{Destination: "/dev/pipes", Type: "bind", Source: c.Pipes, Options: []string{"bind", "ro", "nosuid", "nodev"}})
	}
	return m
}

// maskedPaths hides from root of the machine, too, what a file's owner could read.
func (c Command) maskedPaths() []string {
	if c.Userns.sameRoot {
		return slices.Concat(maskedPaths, rootsPaths)
	}
	return maskedPaths
}

var (
	// maskedPaths and readonlyPaths are those that Docker hides from containers, or makes
	// read-only.
	maskedPaths = []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
		"/sys/devices/virtual/powercap", "/sys/firmware",
	}
	readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
	// rootsPaths belong to root of the machine alone, and need no capability.
	rootsPaths = []string{
		"/proc/dynamic_debug", "/proc/kmsg", "/proc/kpagecgroup", "/proc/kpagecount", "/proc/kpageflags",
		"/proc/mtrr", "/proc/pagetypeinfo", "/proc/slabinfo", "/proc/tty/driver", "/proc/vmallocinfo",
	}
)

// devices are those of the machine that a command gets.
var devices = []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"}
