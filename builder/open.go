//go:build linux

package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/foreign"
	"github.com/oakum-build/oakum/builder/internal/nsenter"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/builder/internal/worker"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/retry"
)

// Builder is a handle on a store and on the worker that builds in it.
type Builder struct {
	opts   Options
	log    *slog.Logger
	proc   *nsenter.Process
	client *wire.Client

	cancelled atomic.Bool // a call was

	mu     sync.Mutex // guards the following and serialises events
	closed bool
	serial int
	calls  sync.WaitGroup
}

// Open starts a Builder: it starts the worker and opens the store, which is made when
// it does not exist. The context bounds Open alone. Close must be called. A machine
// that does not allow it gives a *HostError.
func Open(ctx context.Context, opts Options) (*Builder, error) {
	b := &Builder{opts: opts, log: opts.Logger}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	if err := opts.Registry.check(); err != nil {
		return nil, err
	}
	proc, err := nsenter.Start(ctx, workerEnv())
	if err != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		var fault *nsenter.Fault
		if errors.As(err, &fault) {
			return nil, &HostError{Missing: fault.Missing, Fix: fault.Fix}
		}
		return nil, err
	}
	b.proc, b.client = proc, wire.NewClient(proc.Control)
	b.client.Answer = answer
	go b.forwardLog(proc.Stderr)
	hello := worker.Hello{
		Store: storage.Options{Root: opts.Root, RunRoot: opts.RunRoot, Driver: opts.Driver, DriverOptions: opts.DriverOptions,
			PID: os.Getpid(), Program: program()},
		Retry: retry.Policy{Times: opts.Retry.Times, Delay: opts.Retry.Delay},
		Hosts: hostsFile(), Resolv: resolvFile(),
	}
	if err := b.call(ctx, "hello", hello, nil, nil); err != nil {
		proc.Kill()
		return nil, err
	}
	return b, nil
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
	// The worker finishes registering layers when the control socket ends.
	limit := time.Minute
	if b.cancelled.Load() {
		limit = undoing
	}
	_ = b.client.Close()
	select {
	case <-b.proc.Done():
	case <-time.After(limit):
	}
	b.proc.Kill()
	b.calls.Wait()
	return nil
}

// undoing is how long the worker has to undo a call that was cancelled. One that takes
// longer hangs, and is killed with all that it does; the next to open the store removes
// what it leaves there.
const undoing = 10 * time.Second

// call does one call of the worker and gives errors of this package.
func (b *Builder) call(ctx context.Context, method string, params, result any, files []*os.File) error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return ErrClosed
	}
	b.calls.Add(1)
	b.mu.Unlock()
	defer b.calls.Done()
	done := make(chan struct{})
	defer close(done)
	defer context.AfterFunc(ctx, func() { b.expectEnd(done) })()
	err := b.client.Call(ctx, method, params, result, files, b.workerEvent)
	var w *wire.Error
	if errors.As(err, &w) && w.Kind == "" && b.isClosed() {
		return ErrClosed // the worker gave the call up
	}
	return fromWire(err)
}

// answer does for the worker what needs the environment of this process.
func answer(ctx context.Context, question json.RawMessage) (any, error) {
	var ask worker.Ask
	if err := wire.Unmarshal(question, &ask); err != nil {
		return nil, err
	}
	return storage.FindLogins(ctx, ask.AuthFile, ask.Repositories)
}

// expectEnd waits until a call that was cancelled is done, and kills the worker when that
// takes too long.
func (b *Builder) expectEnd(done <-chan struct{}) {
	b.cancelled.Store(true)
	select {
	case <-done:
	case <-time.After(undoing):
		_ = b.client.Close()
		b.proc.Kill()
	}
}

func (b *Builder) isClosed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

func (b *Builder) workerEvent(raw json.RawMessage) {
	var e worker.Event
	if err := wire.Unmarshal(raw, &e); err != nil {
		return
	}
	switch {
	case e.Pull != "":
		b.event(Event{Kind: EventPullStarted, Ref: e.Pull})
	case e.Pulled != "":
		done := Event{Kind: EventPullFinished, Ref: e.Pulled, Duration: e.Took}
		if e.Failed != "" {
			done.Err = errors.New(e.Failed)
		}
		b.event(done)
	case e.Warning != "":
		b.event(Event{Kind: EventWarning, Text: e.Warning})
	}
}

// event gives an event to the sink, one at a time and never after Close.
func (b *Builder) event(e Event) {
	if b.opts.Events == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	e.Time = time.Now()
	b.opts.Events(e)
}

// Info describes the store and what was probed of this machine.
func (b *Builder) Info(ctx context.Context) (Info, error) {
	var i worker.Info
	if err := b.call(ctx, "info", nil, &i, nil); err != nil {
		return Info{}, err
	}
	return Info{
		Root: i.Root, RunRoot: i.RunRoot, Driver: i.Driver, DriverStatus: i.DriverStatus,
		Rootless: i.Rootless, UIDMap: parseIDMap(i.UIDMap), GIDMap: parseIDMap(i.GIDMap),
		Kernel: i.Kernel, Arch: runtime.GOARCH, Images: i.Images, Layers: i.Layers,
	}, nil
}

// Info is what Builder.Info found.
type Info struct {
	Root, RunRoot, Driver string
	DriverStatus          [][2]string
	Rootless              bool
	UIDMap, GIDMap        []IDMap
	Kernel, Arch          string
	Images, Layers        int
}

// IDMap is one line of a user namespace's id map.
type IDMap struct{ Inside, Outside, Count uint32 }

func parseIDMap(text string) []IDMap {
	var maps []IDMap
	for line := range strings.Lines(text) {
		var m IDMap
		if n, err := fmt.Sscan(line, &m.Inside, &m.Outside, &m.Count); n == 3 && err == nil {
			maps = append(maps, m)
		}
	}
	return maps
}

// fromWire gives an error of the worker the type that this package promises.
func fromWire(err error) error {
	if errors.Is(err, wire.ErrGone) {
		return ErrClosed
	}
	var w *wire.Error
	if !errors.As(err, &w) {
		return err
	}
	if w.Kind == worker.KindLayer {
		var d worker.LayerDetail
		if wire.Unmarshal(w.Detail, &d) == nil {
			return &LayerError{Layer: d.ID, Err: fromWire(&wire.Error{Kind: d.Kind, Message: w.Message})}
		}
	}
	if w.Kind == worker.KindHost {
		var fault nsenter.Fault
		if wire.Unmarshal(w.Detail, &fault) == nil {
			return &HostError{Missing: fault.Missing, Fix: fault.Fix}
		}
	}
	if w.Kind == worker.KindLimit {
		limit := &foreign.LimitError{}
		if wire.Unmarshal(w.Detail, limit) == nil {
			return &kindError{limit, w.Message}
		}
	}
	if w.Kind == worker.KindRegistry {
		var d worker.RegistryDetail
		if wire.Unmarshal(w.Detail, &d) == nil {
			return &RegistryError{Host: d.Host, Reason: RegistryReason(d.Reason), text: w.Message}
		}
	}
	kinds := map[string]error{
		worker.KindNotFound: ErrImageNotFound, worker.KindReference: ErrReference, worker.KindRegistry: ErrRegistry,
		worker.KindInUse: ErrInUse, worker.KindNoFile: ErrNotFound, worker.KindNoUser: ErrUserNotFound, worker.KindInvalid: ErrInvalid,
		worker.KindFetch: ErrFetch, worker.KindUnfit: ErrUnfit,
		worker.KindUncached: ErrUncached,
	}
	if kind, ok := kinds[w.Kind]; ok {
		return &kindError{kind, w.Message}
	}
	return w
}

// kindError is an error of the worker: its text, and the sentinel that it matches.
type kindError struct {
	kind error
	text string
}

func (e *kindError) Error() string { return e.text }
func (e *kindError) Unwrap() error { return e.kind }
