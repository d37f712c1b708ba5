//go:build linux

// Package worker is the process that builds: root of its user namespace and PID 1 of
// its PID namespace, with mounts that nobody else sees. It serves the calls of one
// Builder over a socket and ends with it; the kernel then undoes all it has done
// outside the store.
package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/binfmt"
	"github.com/oakum-build/oakum/builder/internal/network"
	"github.com/oakum-build/oakum/builder/internal/passwd"
	"github.com/oakum-build/oakum/builder/internal/protocol"
	"github.com/oakum-build/oakum/builder/internal/protocol/question"
	"github.com/oakum-build/oakum/builder/internal/sandbox"
	"github.com/oakum-build/oakum/builder/internal/step"
	"github.com/oakum-build/oakum/builder/internal/userns"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/builder/internal/workspace"
	"github.com/oakum-build/oakum/builder/internal/workspace/overlay"
	"github.com/oakum-build/oakum/builder/internal/workspace/tree"
	"github.com/oakum-build/oakum/builder/isolation"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/authfile"
	"github.com/oakum-build/oakum/storage/owndir"
	"github.com/oakum-build/oakum/storage/registry"
	"github.com/oakum-build/oakum/storage/retry"
)

// Main is the life of a worker of a kind. It gives the exit status.
func Main(kind userns.Kind) int {
	// This process is ours alone, so its environment may be changed: what it starts may be
	// helpers.
	os.Setenv(userns.EnvHelper, "1")
	// A container's first process needs one thread for Go code.
	os.Setenv("GOMAXPROCS", "1")
	w := newWorker(kind)
	err := userns.Ready(protocol.Version, kind, func() *userns.Fault {
		w.emulators = binfmt.Open(kind.OwnUsers())
		return privateMounts(kind)
	})
	var told *userns.Fault
	if errors.As(err, &told) {
		return 1 // the parent knows
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	unix.Umask(0o022)
	debug.SetGCPercent(usualGarbage)
	debug.SetMemoryLimit(mostMemory)
	err = w.server().Serve(os.NewFile(userns.ControlFD, "control"))
	w.close()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func newWorker(kind userns.Kind) *worker {
	return &worker{kind: kind, rootless: kind.OwnUsers() || inUserns(), stages: map[string]*step.Stage{},
		shared: shared{pulls: map[string]*sync.Mutex{}, told: map[string]bool{}, held: map[string]*held{}, pushes: map[string]*storage.Push{}, cachesElsewhere: map[string]*travelling{}}}
}

// inUserns says whether the process is not root of the machine: its own user namespace
// or one that it was started in maps only some ids.
func inUserns() bool {
	uids, _, err := passwd.OwnIDs()
	return err == nil && !uids.All()
}

// privateMounts cuts the mount namespace off from the host's, and shows the PID namespace in /proc, if
// the worker has them.
func privateMounts(kind userns.Kind) *userns.Fault {
	if kind == userns.Plain {
		return nil
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return &userns.Fault{Lack: userns.Mounts, Missing: "making the mounts private: " + err.Error(), Fix: userns.MountFix(err)}
	}
	if kind.SharesPIDs() {
		return nil
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NOEXEC|unix.MS_NODEV, ""); err != nil {
		return &userns.Fault{Lack: userns.Proc, Missing: "mounting /proc in a PID namespace: " + err.Error(),
			Fix: "run the outer container with an unmasked /proc (--security-opt systempaths=unconfined)"}
	}
	return nil
}

type worker struct {
	kind     userns.Kind
	rootless bool

	emulators *binfmt.Emulators

	chosen
	mu     sync.Mutex
	store  *storage.Store
	spaces workspace.Driver
	tmpfs
	sandboxes sandboxes
	networks  *network.Pool
	hello     protocol.Hello
	stages    map[string]*step.Stage
	steps     *step.Engine
	copies    copies
	shared
}

// tmpfs is the one that is the worker's own.
type tmpfs struct {
	mnt     string
	tempMnt *owndir.Dir // where it is, if not in the store
	serial  int         // of what was mounted and made there
}

// shared is what calls under way know of each other.
type shared struct {
	pulls map[string]*sync.Mutex
	told  map[string]bool // what warnings were given
	held  map[string]*held
	// pushes are those that go on beside builds.
	pushes map[string]*storage.Push
	// cachesElsewhere are those that stages look at and give to.
	cachesElsewhere map[string]*travelling
	memory          memory
}

// next gives a number that no other mount or container of this worker has.
func (w *worker) next() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.serial++
	return w.serial
}

func (w *worker) close() {
	for _, p := range w.pushes {
		p.Close()
	}
	if w.steps != nil {
		w.steps.Wait()
	}
	if w.tempMnt != nil {
		_ = unix.Unmount(w.tempMnt.Path(), unix.MNT_DETACH)
		_ = w.tempMnt.Remove()
	}
	for _, s := range w.stages {
		s.Wait()
	}
	w.copies.drop()
	if w.store != nil {
		w.networks.Close()
		if err := errors.Join(w.spaces.Close(), w.store.Close()); err != nil {
			fmt.Fprintln(os.Stderr, "closing the store:", err)
		}
	}
	w.emulators.Close()
}

// openStore opens the store where the overlay driver does not find fuse-overlayfs, which it
// would have recourse to by itself: its layers are not as the kernel's overlay wants them.
func openStore(opts storage.Options) (*storage.Store, error) {
	path := os.Getenv("PATH")
	os.Unsetenv("PATH")
	defer os.Setenv("PATH", path)
	return storage.Open(opts)
}

func (w *worker) start(_ context.Context, call *wire.Call, h protocol.Hello) (out isolation.Means, err error) {
	h.Store.Rootless = w.rootless
	if err := w.choose(h); err != nil {
		return out, err
	}
	st, err := w.openChosen(h.Store)
	if err != nil {
		return out, err
	}
	for _, warning := range []string{st.Instead(), st.Lost()} {
		if warning != "" {
			call.Event(protocol.Event{Warning: warning})
		}
	}
	mnt, err := w.ownDir(st)
	if err != nil {
		return out, errors.Join(err, st.Close())
	}
	for _, d := range []string{"sandbox", "scripts", "grants", "trees", "roots"} {
		if err := os.Mkdir(filepath.Join(mnt, d), 0o700); err != nil {
			return out, err
		}
	}
	if w.level < isolation.Full {
		what := "the sandbox that is asked for needs more namespaces than there are"
		if w.level == isolation.NoCommands {
			what = "commands cannot be run here"
		}
		why := lacking(what, w.ofCommands())
		w.sandboxes.why = sandbox.HostError{Missing: why.Missing, Remedy: why.Remedy}
	}
	w.sandboxes.level = w.level
	w.store, w.mnt, w.hello, w.sandboxes.dir = st, mnt, h, filepath.Join(mnt, "sandbox")
	w.networks = network.NewPool(w.machine())
	if st.Driver() == storage.DriverTree {
		w.spaces = tree.New(st)
	} else {
		w.spaces = overlay.New(st, filepath.Join(mnt, "roots"), w.rootless)
	}
	w.steps = step.New(st, w.spaces, st.Records(), func(err error) { fmt.Fprintln(os.Stderr, "layer cache:", err) })
	out = isolation.Means{Level: w.level, Probes: w.ofCommands()}
	return out, w.remember(h, out)
}

// ownDir is the directory of the worker's own files: a tmpfs, or where nothing can be mounted one of the
// store's scratch.
func (w *worker) ownDir(st *storage.Store) (string, error) {
	if w.kind == userns.Plain {
		dir, _, err := st.ScratchDir("worker-")
		return dir, err
	}
	mnt, err := w.mountPoint(st)
	if err != nil {
		return "", err
	}
	if err := unix.Mount("tmpfs", mnt, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=700"); err != nil {
		return "", fmt.Errorf("mounting a tmpfs: %w", err)
	}
	return mnt, nil
}

// mountPoint is the directory over which the worker mounts its tmpfs, by a path that
// libcontainer takes for that of a root file system below it: it must not go through links,
// and must be UTF-8, since it is written as JSON. Where the store's path is not, it is a
// directory in TMPDIR.
func (w *worker) mountPoint(st *storage.Store) (string, error) {
	mnt, err := filepath.EvalSymlinks(st.MountPoint())
	if err != nil || utf8.ValidString(mnt) {
		return mnt, err
	}
	if w.tempMnt, err = owndir.Temp("oakum-mnt-"); err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(w.tempMnt.Path())
}

// retrying says how often a transfer is tried again, and tells the caller when it is.
func (w *worker) retrying(call *wire.Call) retry.Policy {
	again := w.hello.Retry
	again.Notice = func(text string) { call.Event(protocol.Event{Warning: text}) }
	return again
}

// access lets the caller find logins: helpers need the user's own environment.
func (w *worker) access(call *wire.Call, a registry.Access) registry.Access {
	a.Retry = w.retrying(call)
	a.Logins = func(ctx context.Context, authFile string, repositories []string) (authfile.Logins, error) {
		return wire.Ask(ctx, call, question.Logins{AuthFile: authFile, Repositories: repositories})
	}
	a.Notice = func(text string) { call.Event(protocol.Event{Warning: text}) }
	a.Progress = func(m registry.Moved) { call.Event(protocol.Event{Moved: &m}) }
	return a
}

func (w *worker) info(ctx context.Context, _ *wire.Call, _ protocol.Info) (protocol.Machine, error) {
	status, err := w.store.Status()
	info := protocol.Machine{Status: status, Rootless: w.rootless || os.Geteuid() != 0}
	if err != nil {
		return info, err
	}
	for path, to := range map[string]*string{
		"/proc/self/uid_map": &info.UIDMap, "/proc/self/gid_map": &info.GIDMap, "/proc/sys/kernel/osrelease": &info.Kernel,
	} {
		data, err := os.ReadFile(path)
		if err != nil {
			return info, err
		}
		*to = strings.TrimSpace(string(data))
	}
	info.Commands, err = w.means(ctx)
	return info, err
}
