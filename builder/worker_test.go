//go:build linux

package builder_test

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder"
)

// workerOf gives the process id of the one worker that this process has. A test that calls
// it is not parallel to others.
func workerOf(t testing.TB) int {
	t.Helper()
	found := workersOf(t, os.Getpid())
	if len(found) != 1 {
		t.Fatalf("processes %v, want one worker", found)
	}
	return found[0]
}

// workerAbove gives the worker of this process that has started the command whose arguments have a word, or 0.
func workerAbove(t testing.TB, word string) int {
	t.Helper()
	for _, worker := range workersOf(t, os.Getpid()) {
		for below := children(t, worker); len(below) > 0; below = below[1:] {
			line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", below[0]))
			if strings.Contains(string(line), word) {
				return worker
			}
			below = append(below, children(t, below[0])...)
		}
	}
	t.Errorf("no worker has started %s", word)
	return 0
}

// workersOf lists the workers that a process has, itself or by their keepers.
func workersOf(t testing.TB, pid int) []int {
	t.Helper()
	var found []int
	for _, child := range children(t, pid) {
		name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", child))
		switch {
		case strings.HasPrefix(string(name), "oakum-worker\x00"):
			found = append(found, child)
		case strings.HasPrefix(string(name), "oakum-keeper\x00"):
			found = append(found, workersOf(t, child)...)
		}
	}
	return found
}

// What the user has in the environment is not for a worker that reads hostile files.
func TestWorkerEnvironment(t *testing.T) {
	kept := map[string]string{"XDG_DATA_HOME": t.TempDir(), "HTTPS_PROXY": "http://127.0.0.1:1", "LANG": "C.UTF-8"}
	for name, value := range kept {
		t.Setenv(name, value)
	}
	secrets := []string{"CI_TOKEN", "AWS_SECRET_ACCESS_KEY", "LD_PRELOAD_OF_MINE", "HOMEMADE", "MY_XDG_TOKEN", "PATHS"}
	for _, name := range secrets {
		t.Setenv(name, "secret")
	}
	open(t)
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", workerOf(t)))
	ok(t, err)
	if strings.Contains(string(data), "secret") {
		t.Errorf("the worker has %q", strings.Split(string(data), "\x00"))
	}
	for name, value := range kept {
		if !strings.Contains("\x00"+string(data), "\x00"+name+"="+value+"\x00") {
			t.Errorf("the worker has no %s in %q", name, strings.Split(string(data), "\x00"))
		}
	}
}

// Ctrl-C in a terminal is for this process alone, which then tells the worker to undo what
// it does.
func TestWorkerSession(t *testing.T) {
	open(t)
	own, err := unix.Getsid(0)
	ok(t, err)
	of, err := unix.Getsid(workerOf(t))
	ok(t, err)
	if of == own {
		t.Errorf("the worker is in the session %d of its parent", own)
	}
}

// What images hold, set-uid programs among it, can be reached by nobody else.
func TestPrivateDirectories(t *testing.T) {
	root := tempDir(t)
	ok(t, os.Chmod(root, 0o755))
	b := openIn(t, builder.Options{Root: root})
	s := base(t, b)
	inside := fmt.Sprintf("/proc/%d/root", workerOf(t))
	mnt := filepath.Join(inside, root, "oakum", "mnt")
	patterns := []string{
		filepath.Join(root, "oakum"), filepath.Join(root, "overlay", "tempdirs", "oakum"), filepath.Join(root, "overlay", "tempdirs", "oakum", "*"),
		mnt, filepath.Join(mnt, "sandbox"), filepath.Join(mnt, "scripts"), filepath.Join(mnt, "trees"),
	}
	if inChroot {
		mnt = filepath.Join(root, "tree", "tempdirs", "oakum", "*", "worker-*")
		patterns = []string{filepath.Join(root, "tree"), filepath.Join(root, "tree", "dir"), filepath.Dir(mnt), mnt, filepath.Join(mnt, "*")}
	}
	up, done := make(chan struct{}), make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		done <- errOf(s.Run(ctx, builder.Cmd{Args: []string{"/bin/sh", "-c", "echo up; sleep 1000"}, Ephemeral: true, Stdout: trigger(func() { close(up) })}))
	}()
	<-up
	checked := 0
	for _, pattern := range patterns {
		found, err := filepath.Glob(pattern)
		ok(t, err)
		if len(found) == 0 {
			t.Errorf("no %s", pattern)
		}
		for _, path := range found {
			info, err := os.Stat(path)
			ok(t, err)
			if info.IsDir() && info.Mode().Perm() != 0o700 {
				t.Errorf("%s has mode %v", path, info.Mode())
			}
			checked++
		}
	}
	if !inChroot {
		mode, err := os.Stat(filepath.Join(root, "oakum", "mnt"))
		ok(t, err)
		if mode.Mode() == fs.ModeDir|0o700 {
			t.Error("the directory below the worker's mount was looked at, not the mount")
		}
	}
	cancel()
	<-done
}

// A registry must not be able to freeze the worker with what goes to its log, whether
// somebody reads that or not.
func TestWorkerOutput(t *testing.T) {
	t.Parallel()
	var serial atomic.Int64
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range 4 {
			w.Header().Add("Warning", fmt.Sprintf(`299 - "%d %s"`, serial.Add(1), strings.Repeat("x", 200_000)))
		}
		w.WriteHeader(http.StatusNotFound)
	}))
	defer registry.Close()
	forever := make(chan struct{})
	defer close(forever)
	var mu sync.Mutex
	var records []string
	handlers := map[string]func(string){
		"read": func(text string) {
			mu.Lock()
			defer mu.Unlock()
			records = append(records, text)
		},
		"not read": func(string) { <-forever },
	}
	for name, handle := range handlers {
		t.Run(name, func(t *testing.T) {
			b := openIn(t, builder.Options{Root: tempDir(t), Logger: slog.New(logFunc(handle))})
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			insecure := false
			for range 3 {
				_, err := b.Pull(ctx, strings.TrimPrefix(registry.URL, "http://")+"/image", builder.PullOptions{Registry: builder.Registry{TLSVerify: &insecure}})
				is(t, err, builder.ErrRegistry)
			}
		})
	}
	mu.Lock()
	defer mu.Unlock()
	if len(records) == 0 {
		t.Error("nothing was logged")
	}
	for _, text := range records {
		if len(text) > 10<<10 {
			t.Errorf("a record of %d bytes", len(text))
		}
	}
}

// logFunc is a slog.Handler.
type logFunc func(text string)

func (logFunc) Enabled(context.Context, slog.Level) bool { return true }
func (f logFunc) WithAttrs([]slog.Attr) slog.Handler     { return f }
func (f logFunc) WithGroup(string) slog.Handler          { return f }
func (f logFunc) Handle(_ context.Context, r slog.Record) error {
	f(r.Message)
	return nil
}

// A worker that does not answer ends some seconds after the call that it does not answer
// is cancelled, with all that it does.
func TestCancelHangingWorker(t *testing.T) {
	t.Parallel() // for it waits
	root, seconds := tempDir(t), nap()
	b := openIn(t, builder.Options{Root: root})
	s := base(t, b)
	ctx, cancel := context.WithCancel(t.Context())
	var at time.Time
	cmd := builder.Cmd{Args: []string{"/bin/sh", "-c", "echo up; sleep " + seconds}, Stdout: trigger(func() {
		if worker := workerAbove(t, seconds); worker != 0 {
			ok(t, unix.Kill(worker, unix.SIGSTOP))
		}
		at = time.Now()
		cancel()
	})}
	is(t, errOf(s.Run(ctx, cmd)), context.Canceled)
	if took := time.Since(at); took > time.Minute {
		t.Errorf("took %v to cancel", took)
	}
	is(t, errOf(s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/true"}})), builder.ErrClosed)
	ok(t, b.Close())
	eventually(t, "the worker's mounts are gone", func() bool { return processes(t, seconds) == "" })
	ok(t, openIn(t, builder.Options{Root: root}).Close()) // sweeps
	nothingLeft(t, root, seconds)
}
