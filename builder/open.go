package builder

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/cache"
	"github.com/oakum-build/oakum/builder/internal/protocol"
	"github.com/oakum-build/oakum/builder/internal/protocol/upkeep"
	"github.com/oakum-build/oakum/builder/internal/userns"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/builder/isolation"
	"github.com/oakum-build/oakum/builder/machine"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/retry"
)

// Builder is a handle on a store and on the worker that builds in it.
type Builder struct {
	opts    Options
	log     *slog.Logger
	conn    wire.Conn
	answers *wire.Server
	sink    *sink

	cancelled atomic.Int32 // calls that are being undone

	mu     sync.Mutex      // guards the following
	proc   *userns.Process // the worker; nil in OpenOver, and until one is needed
	means  isolation.Means // as far as Open tells them
	closed bool
	serial int
	places map[string]cache.Place // for caches, as the worker calls them
	calls  sync.WaitGroup
}

// Open starts a Builder: it starts the worker and opens the store, which is made when
// it does not exist. The context bounds Open alone. Close must be called. A machine
// that does not allow it gives a *HostError.
//
// Where a Builder with the same choices has had a worker that lacked nothing, since the machine was started, Open
// starts none. Then the first call starts it that is not answered by looking at the files of the store, as steps are
// that are found in the cache, and an image that is there already; and it is that call which fails should the
// machine not allow it any more.
func Open(ctx context.Context, opts Options) (*Builder, error) {
	b, err := newBuilder(opts)
	if err = cmp.Or(err, ctx.Err()); err != nil {
		return nil, err
	}
	hello := b.hello()
	begin := b.beginning(hello)
	if b.conn = b.look(hello, begin); b.conn != nil {
		return b, nil
	}
	if b.conn, _, err = begin(ctx); err != nil {
		return nil, public(err)
	}
	return b, nil
}

// RemoveStore removes the store that opts name, with all its images, as an ordinary user too,
// who cannot remove the files of subordinate ids in it. The store need not be one that can be opened.
// Its directory goes when nothing else is left in it; what is not of the store stays, such as
// Podman's volumes. It is no error when there is no such directory. A directory that is no store
// gives an error that matches ErrInvalid, and ErrInUse a store that another Builder has
// open, that another program is writing to, or in which Podman or Buildah have containers.
func RemoveStore(ctx context.Context, opts Options) error {
	b, err := newBuilder(opts)
	if err == nil {
		b.conn, err = b.start(ctx, workerEnv())
	}
	if err != nil {
		return err
	}
	_, err = call(ctx, b, upkeep.RemoveStore{Store: b.store()})
	return errors.Join(err, b.Close())
}

// beginner starts a worker that has opened the store. end ends it, and says that there is none.
type beginner func(ctx context.Context) (conn wire.Conn, end func(), err error)

// beginning is the Builder's, with this process's environment as it is now.
func (b *Builder) beginning(hello protocol.Hello) beginner {
	env := workerEnv()
	return func(ctx context.Context) (wire.Conn, func(), error) {
		conn, err := b.start(ctx, env)
		if err != nil {
			return nil, nil, err
		}
		proc := b.worker()
		end := func() {
			proc.Kill()
			b.mu.Lock()
			defer b.mu.Unlock()
			b.proc = nil
		}
		hello.Refused = refused(proc)
		done := make(chan struct{})
		defer close(done)
		defer context.AfterFunc(ctx, func() {
			select {
			case <-done:
			case <-time.After(undoing):
				_ = conn.Close()
				proc.Kill()
			}
		})()
		if err := b.greet(ctx, conn, hello); err != nil {
			end()
			return nil, nil, err
		}
		return conn, end, nil
	}
}

// start starts the Builder's worker.
func (b *Builder) start(ctx context.Context, env []string) (wire.Conn, error) {
	output, w := io.Pipe()
	go b.forwardLog(output)
	proc, err := userns.Start(ctx, userns.Options{Plain: b.opts.Isolation.Plain(), Program: b.opts.Worker, Env: env, Version: protocol.Version, Output: w})
	if err != nil {
		var fault *userns.Fault
		if errors.As(err, &fault) {
			return nil, &HostError{Missing: fault.Missing, Fix: fault.Fix}
		}
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.proc = proc
	return wire.NewClient(proc.Control), nil
}

// worker is that of the Builder, or nil.
func (b *Builder) worker() *userns.Process {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.proc
}

// OpenOver starts a Builder whose calls go over conn instead of to a worker. It is for package
// buildertest: conn is of a package that no other program can import.
func OpenOver(ctx context.Context, conn wire.Conn, opts Options) (*Builder, error) {
	b, err := newBuilder(opts)
	if err != nil {
		return nil, err
	}
	b.conn = conn
	if err := b.greet(ctx, conn, b.hello()); err != nil {
		_ = conn.Close()
		return nil, public(err)
	}
	return b, nil
}

func newBuilder(opts Options) (*Builder, error) {
	b := &Builder{opts: opts, log: opts.Logger, sink: newSink(opts.Events)}
	b.answers = b.answering()
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	return b, errors.Join(opts.Isolation.Check(), opts.Registry.check())
}

// hello is what has the worker open the store.
func (b *Builder) hello() protocol.Hello {
	return protocol.Hello{
		Store:     b.store(),
		Isolation: b.opts.Isolation,
		Retry:     retry.Policy{Times: b.opts.Retries, Delay: b.opts.RetryDelay},
		Hosts:     hostsFile(), Resolv: resolvFile(),
		Remember: b.here(),
	}
}

// greet says hello to a worker.
func (b *Builder) greet(ctx context.Context, conn wire.Conn, hello protocol.Hello) error {
	t := b.teller(nil)
	means, err := wire.Do(ctx, conn, hello, wire.With{Answers: b.answers, Event: func(raw json.RawMessage) { t.pass(ctx, raw) }})
	if err = t.or(err); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.means = means
	return nil
}

// refused is what the machine has refused to the worker.
func refused(proc *userns.Process) []machine.Probe {
	var probes []machine.Probe
	for _, f := range proc.Refused {
		probes = append(probes, machine.Probe{Name: string(f.Lack), Found: f.Missing, Fix: f.Fix})
	}
	return probes
}

// Isolation is how far commands are kept apart from this machine, and the *HostError that says why it is
// not isolation.Full, if it is not.
func (b *Builder) Isolation() (isolation.Level, error) {
	b.mu.Lock()
	means := b.means
	b.mu.Unlock()
	if means.Level == isolation.Full {
		return means.Level, nil
	}
	missing, fix := machine.Lacks(means.Probes)
	what := "commands are kept apart from the machine as " + means.Level.String()
	if means.Level == isolation.NoCommands {
		what = "commands cannot be run here"
	}
	return means.Level, &HostError{Missing: what + ": " + missing, Fix: fix}
}

// store says which store is meant, and who uses it.
func (b *Builder) store() storage.Options {
	return storage.Options{Root: b.opts.Root, RunRoot: b.opts.RunRoot, Driver: b.opts.Driver, DriverOptions: b.opts.DriverOptions,
		PID: os.Getpid(), Program: program()}
}

// program is what others are told of who uses the store, beside the process's id.
func program() string {
	exe, err := os.Executable()
	if err != nil {
		return "a program"
	}
	return filepath.Base(exe)
}

// workerEnv is the part of the environment that the worker's libraries go by. The rest,
// with whatever secrets it holds, stays here.
func workerEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		name, value, _ := strings.Cut(kv, "=")
		if name == "XDG_RUNTIME_DIR" && !usable(value) {
			continue // the storage library has a place for its state without it
		}
		switch {
		case strings.HasPrefix(name, "_CONTAINERS_"), // set by podman unshare
			strings.HasPrefix(name, "XDG_"), strings.HasPrefix(name, "CONTAINERS_"), strings.HasPrefix(name, "SSL_CERT_"),
			strings.HasSuffix(strings.ToLower(name), "_proxy"):
			env = append(env, kv)
		}
		switch name {
		case "GODEBUG", "GOMAXPROCS", "GORACE", "GOTRACEBACK": // of the Go runtime, which is the worker's too
			env = append(env, kv)
		case "HOME", "PATH", "USER", "LOGNAME", "LANG", "TMPDIR", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "SSH_AUTH_SOCK", "STORAGE_DRIVER", "STORAGE_OPTS":
			env = append(env, kv)
		}
	}
	return append(env, placeholders()...)
}

// placeholders are variables without which the storage library opens no store, wherever it is to be:
// it wants to know where one would be by default. They name what is there and is not used.
func placeholders() []string {
	var env []string
	if os.Getenv("HOME") == "" {
		if u, err := user.Current(); err != nil || u.HomeDir == "" { // in a container, an id that no user has
			env = append(env, "HOME=/")
		}
	}
	if !usable(os.Getenv("XDG_RUNTIME_DIR")) && !usable(os.TempDir()) {
		env = append(env, "XDG_RUNTIME_DIR=/")
	}
	return env
}

// usable says whether this user can have files in a directory. That of a session that has
// ended, or of another user before su, is none.
func usable(dir string) bool {
	info, err := os.Stat(dir)
	return err == nil && info.IsDir() && unix.Access(dir, unix.W_OK|unix.X_OK) == nil
}

// hostsFile is this machine's, since commands use its network; the worker adds the
// sandbox's own name.
func hostsFile() string {
	data, err := os.ReadFile("/etc/hosts")
	if err != nil || len(data) == 0 {
		data = []byte("127.0.0.1\tlocalhost\n::1\tlocalhost\n")
	}
	return strings.TrimRight(string(data), "\n") + "\n"
}

func resolvFile() string {
	data, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return ""
	}
	return string(data)
}

// Close ends the worker, and with it all that is still running or mounted. It is
// idempotent. Stages of the Builder are closed by it.
func (b *Builder) Close() error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	b.mu.Unlock()
	b.sink.refuse()
	// The worker finishes registering layers when the control socket ends.
	limit := time.Minute
	if b.cancelled.Load() > 0 {
		limit = undoing
	}
	_ = b.conn.Close()
	if proc := b.worker(); proc != nil {
		select {
		case <-proc.Done():
		case <-time.After(limit):
		}
		proc.Kill()
	}
	b.calls.Wait()
	b.sink.stop()
	return nil
}

// Info describes the store and what was probed of this machine.
func (b *Builder) Info(ctx context.Context) (Info, error) {
	i, err := call(ctx, b, protocol.Info{})
	if err != nil {
		return Info{}, err
	}
	return Info{
		Root: i.Root, RunRoot: i.RunRoot, Driver: i.Driver, DriverStatus: i.DriverStatus,
		Rootless: i.Rootless, UIDMap: parseIDMap(i.UIDMap), GIDMap: parseIDMap(i.GIDMap),
		Kernel: i.Kernel, Arch: runtime.GOARCH, Images: i.Images, Layers: i.Layers, Commands: i.Commands,
	}, nil
}

// Info is what Builder.Info found.
type Info struct {
	Root, RunRoot, Driver string
	DriverStatus          [][2]string
	Rootless              bool
	UIDMap, GIDMap        []specs.LinuxIDMapping
	Kernel, Arch          string
	Images, Layers        int
	Commands              isolation.Means
}

func parseIDMap(text string) []specs.LinuxIDMapping {
	var maps []specs.LinuxIDMapping
	for line := range strings.Lines(text) {
		var m specs.LinuxIDMapping
		if n, err := fmt.Sscan(line, &m.ContainerID, &m.HostID, &m.Size); n == 3 && err == nil {
			maps = append(maps, m)
		}
	}
	return maps
}
