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

	"github.com/oakum-build/oakum/builder/internal/nsenter"
	"github.com/oakum-build/oakum/builder/internal/sandbox"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/retry"
)

// Main is the worker's life. It gives the exit status.
func Main() int {
	// This process is ours alone, so its environment may be changed: what it starts
	// must not become workers.
	os.Unsetenv(nsenter.EnvMode)
	os.Setenv(nsenter.EnvChild, "1")
	// A container's first process needs one thread for Go code.
	os.Setenv("GOMAXPROCS", "1")
	unix.CloseOnExec(nsenter.ControlFD)
	if err := nsenter.Ready(); err != nil {
		return 1
	}
	unix.Umask(0o022)
	debug.SetGCPercent(400) // it lives for one build, and the store makes much garbage
	// It is collected more often from here on: pulling 490 layers took 1.4 GB, and takes 0.2.
	debug.SetMemoryLimit(192 << 20)
	w := &worker{rootless: inUserns(), userns: sync.OnceValues(commandsUserns), stages: map[string]*stage{}, steps: map[string]chan struct{}{}, pulls: map[string]*sync.Mutex{}, told: map[string]bool{}, builds: map[string]*build{}}
	if err := privateMounts(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		w.broken = err
	}
	control := os.NewFile(nsenter.ControlFD, "control")
	err := wire.Serve(control, w.handle)
	w.close()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// inUserns says whether the process is not root of the machine: its own user namespace
// or one that it was started in maps only some ids.
func inUserns() bool {
	data, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && !strings.Contains(string(data), " 4294967295")
}

// privateMounts cuts the mount namespace off from the host's, and shows the PID
// namespace in /proc. Cgroups become read-only: containers must make none, since a
// killed worker could not remove them.
func privateMounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making the mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NOEXEC|unix.MS_NODEV, ""); err != nil {
		return hostError("mounting /proc in a PID namespace: "+err.Error(),
			"run the outer container with an unmasked /proc (--security-opt systempaths=unconfined)")
	}
	// Best effort: without it an old kernel's cgroups are only left behind empty.
	_ = unix.MountSetattr(unix.AT_FDCWD, "/sys", unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	return nil
}

// commandsUserns is the user namespace that commands run in.
func commandsUserns() (sandbox.Userns, error) {
	u, err := sandbox.NewUserns(!inUserns())
	if errors.Is(err, sandbox.ErrCapabilities) {
		return u, hostError(err.Error(), "run oakum as an ordinary user, or give the container CAP_SETPCAP")
	}
	return u, err
}

type worker struct {
	rootless bool
	userns   func() (sandbox.Userns, error) // found when the first command runs
	broken   error

	mu      sync.Mutex
	store   *storage.Store
	mnt     string // our tmpfs
	tempMnt string // where it is, if not in the store
	hello   Hello
	stages  map[string]*stage
	steps   map[string]chan struct{} // steps being done, by key
	pulls   map[string]*sync.Mutex
	told    map[string]bool // what warnings were given
	builds  map[string]*build
	serial  int
	bg      sync.WaitGroup
}

// next gives a number that no other mount or container of this worker has.
func (w *worker) next() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.serial++
	return w.serial
}

func (w *worker) close() {
	w.bg.Wait()
	if w.tempMnt != "" {
		_ = unix.Unmount(w.tempMnt, unix.MNT_DETACH)
		_ = os.Remove(w.tempMnt)
	}
	for _, s := range w.stages {
		s.wait()
	}
	if w.store != nil {
		if err := w.store.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "closing the store:", err)
		}
	}
}

// openStore opens the store where the overlay driver does not find fuse-overlayfs, which it
// would have recourse to by itself: its layers are not as the kernel's overlay wants them.
func openStore(opts storage.Options) (*storage.Store, error) {
	path := os.Getenv("PATH")
	os.Unsetenv("PATH")
	defer os.Setenv("PATH", path)
	return storage.Open(opts)
}

func (w *worker) start(call *wire.Call, h Hello) error {
	h.Store.Rootless = w.rootless
	st, err := openStore(h.Store)
	if err != nil {
		return err
	}
	if instead := st.Instead(); instead != "" {
		call.Event(Event{Warning: instead})
	}
	mnt, err := w.mountPoint(st)
	if err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", mnt, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=700"); err != nil {
		return fmt.Errorf("mounting a tmpfs: %w", err)
	}
	for _, d := range []string{"containers", "files", "trees"} {
		if err := os.Mkdir(filepath.Join(mnt, d), 0o700); err != nil {
			return err
		}
	}
	w.store, w.mnt, w.hello = st, mnt, h
	return nil
}

// stepped completes the outcome of a step on a stage.
func (w *worker) stepped(stage string) func(Stepped, error) (Stepped, error) {
	return func(out Stepped, err error) (Stepped, error) {
		if err != nil {
			return out, err
		}
		s, err := w.stage(stage)
		if err == nil {
			out.Layer, out.Gone = s.top().ID(), s.top().Gone()
		}
		return out, err
	}
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
	if w.tempMnt, err = os.MkdirTemp("", "oakum-mnt-"); err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(w.tempMnt)
}

// handle does one call.
func (w *worker) handle(ctx context.Context, call *wire.Call) (any, error) {
	if w.broken != nil {
		return nil, w.broken
	}
	result, err := w.dispatch(ctx, call)
	if err != nil && ctx.Err() == nil {
		return nil, wireError(err)
	}
	return result, err
}

func (w *worker) dispatch(ctx context.Context, call *wire.Call) (any, error) {
	if call.Method != "hello" && w.store == nil {
		return nil, errors.New("the store is not open")
	}
	switch call.Method {
	case "hello":
		return with(call, func(p Hello) (any, error) { return nil, w.start(call, p) })
	case "open":
		return with(call, func(p Open) (any, error) { return w.open(ctx, call, p) })
	case "copy":
		return with(call, func(p Copy) (any, error) { return w.stepped(p.Stage)(w.copy(ctx, call, p)) })
	case "mkdir":
		return with(call, func(p Mkdir) (any, error) { return w.stepped(p.Stage)(w.mkdir(ctx, p)) })
	case "run":
		return with(call, func(p Run) (any, error) { return w.stepped(p.Stage)(w.run(ctx, call, p)) })
	case "checkcommand":
		return with(call, func(p Command) (any, error) { return w.checkCommand(ctx, p) })
	case "commit":
		return with(call, func(p Commit) (any, error) { return w.commit(ctx, p) })
	case "readfile":
		return with(call, func(p ReadFile) (any, error) { return w.readFile(p) })
	case "latesttime":
		return with(call, func(id string) (any, error) { return w.latestTime(ctx, id) })
	case "close":
		return with(call, func(id string) (any, error) { return nil, w.closeStage(id) })
	}
	return w.dispatchImages(ctx, call)
}

func (w *worker) dispatchImages(ctx context.Context, call *wire.Call) (any, error) {
	switch call.Method {
	case "images":
		return w.store.Images()
	case "inspect":
		return with(call, func(p Ref) (any, error) { return w.store.Inspect(p.Ref) })
	case "tag":
		return with(call, func(p Ref) (any, error) { return nil, w.store.Tag(p.Ref, p.Names) })
	case "remove":
		return with(call, func(p Ref) (any, error) {
			untagged, deleted, err := w.store.Remove(p.Ref, p.Force, p.Unnamed)
			return Removed{untagged, deleted}, err
		})
	case "pull":
		return with(call, func(p Ref) (any, error) {
			return w.pulling(call, p.Ref, func() (storage.Image, error) {
				return w.withFile(ctx, p.Ref, nil, func(ref string) (storage.Image, error) {
					return w.store.Pull(ctx, ref, p.Platform, w.access(call, p.Access))
				})
			})
		})
	case "push":
		return with(call, func(p Ref) (any, error) {
			return w.store.Push(ctx, p.Ref, p.Dest, p.Format, w.access(call, p.Access))
		})
	case "remembers":
		return w.store.Remembers(), nil
	case "prune":
		return w.store.Prune()
	case "info":
		return w.info()
	}
	return nil, fmt.Errorf("unknown method %q", call.Method)
}

// retrying says how often a transfer is tried again, and tells the caller when it is.
func (w *worker) retrying(call *wire.Call) retry.Policy {
	again := w.hello.Retry
	again.Notice = func(text string) { call.Event(Event{Warning: text}) }
	return again
}

// access lets the caller find logins: helpers need the user's own environment.
func (w *worker) access(call *wire.Call, a storage.Access) storage.Access {
	a.Retry = w.retrying(call)
	a.Logins = func(ctx context.Context, authFile string, repositories []string) (storage.Logins, error) {
		var found storage.Logins
		err := call.Ask(ctx, Ask{AuthFile: authFile, Repositories: repositories}, &found)
		return found, err
	}
	a.Notice = func(text string) { call.Event(Event{Warning: text}) }
	return a
}

func with[P any](call *wire.Call, f func(P) (any, error)) (any, error) {
	var p P
	if err := wire.Unmarshal(call.Params, &p); err != nil {
		return nil, fmt.Errorf("%s: %w", call.Method, err)
	}
	return f(p)
}

func (w *worker) info() (Info, error) {
	status, err := w.store.Status()
	info := Info{Status: status, Rootless: w.rootless}
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
	return info, nil
}
