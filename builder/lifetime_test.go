//go:build linux

package builder_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/event"
	"github.com/oakum-build/oakum/hack/badinit"
)

// roleEnv makes the test binary another program.
const roleEnv = "OAKUM_TEST_ROLE"

func play(role string) int {
	name, args, _ := strings.Cut(role, ":")
	switch name {
	case "program":
		return beProgram()
	case "overwrite":
		return overwrite()
	case "capable":
		return playCapable(args)
	case "hang":
		os.Setenv(badinit.Env, badinit.Hangs)
		return beBuilder("open")
	case "open", "drop", "lower":
		return beBuilder(name)
	case "opener":
		return playOpener(args)
	case "impostor":
		return playImpostor(args)
	case "family":
		return playFamily(args)
	case "drivers":
		return playDrivers(args)
	case "stranger":
		return playStranger(args)
	}
	return hold(role)
}

// hold holds a Builder until it is killed.
func hold(role string) int {
	root, seconds, _ := strings.Cut(role, ":")
	ctx := context.Background()
	b, err := builder.Open(ctx, chosen(builder.Options{Root: root}))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	s, err := b.Stage(ctx, "base", builder.StageOptions{Pull: "never"})
	if err == nil {
		_, err = s.Run(ctx, builder.Cmd{Args: []string{"/bin/sh", "-c", "echo half >/half; echo running; sleep " + seconds}, Stdout: os.Stdout})
	}
	fmt.Println(err)
	return 1
}

// serial makes the commands of tests tell themselves apart from all others.
var serial atomic.Int64

// nap is a number of seconds, hours away, that no other sleep on this machine has.
func nap() string {
	return fmt.Sprintf("9%d%03d", os.Getpid(), serial.Add(1))
}

// nothingLeft fails the test when a store has anything of a step that did not end: a
// process, a mount, a staging directory, a temporary file, a layer that is no layer.
func nothingLeft(t testing.TB, root, seconds string) {
	t.Helper()
	if found := processes(t, seconds); found != "" {
		t.Errorf("running: %s", found)
	}
	mounts, err := os.ReadFile("/proc/mounts")
	ok(t, err)
	if strings.Contains(string(mounts), root) {
		t.Errorf("mounted:\n%s", mounts)
	}
	for _, dir := range []string{"oakum/mnt", "overlay/tempdirs/oakum", "tree/tempdirs/oakum"} {
		entries, err := os.ReadDir(filepath.Join(root, dir))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
		for _, e := range entries {
			t.Errorf("left: %s/%s", dir, e.Name())
		}
	}
	b := openIn(t, builder.Options{Root: root})
	info, err := b.Info(t.Context())
	ok(t, err)
	ok(t, b.Close())
	if dirs := layerDirs(t, root); dirs != info.Layers {
		t.Errorf("%d directories of layers, %d layers", dirs, info.Layers)
	}
}

// layerDirs counts the directories of layers, also of those that only keep others.
func layerDirs(t testing.TB, root string) (n int) {
	t.Helper()
	for _, at := range []string{"overlay", "tree/dir"} {
		dirs, err := filepath.Glob(filepath.Join(root, at, strings.Repeat("[0-9a-f]", 64)))
		ok(t, err)
		n += len(dirs)
	}
	return n
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
	}
}

// start starts a program that does not outlive the test, wherever that fails.
func start(t testing.TB, program *exec.Cmd) {
	t.Helper()
	ok(t, program.Start())
	t.Cleanup(func() { _ = program.Process.Kill(); _ = program.Wait() })
}

// trigger calls a function once something is written.
type trigger func()

func (f trigger) Write(p []byte) (int, error) { f(); return len(p), nil }

func TestCancelRun(t *testing.T) {
	root, seconds := tempDir(t), nap()
	b := openIn(t, builder.Options{Root: root})
	s := base(t, b)
	for _, ephemeral := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		var at time.Time
		cmd := builder.Cmd{Args: []string{"/bin/sh", "-c", "echo >/half; trap '' TERM INT; sleep " + seconds + " & echo up; sleep " + seconds}, Ephemeral: ephemeral}
		cmd.Stdout = trigger(func() { at = time.Now(); cancel() })
		is(t, errOf(s.Run(ctx, cmd)), context.Canceled)
		if took := time.Since(at); took > time.Minute {
			t.Errorf("took %v to cancel", took)
		}
		if found := processes(t, seconds); found != "" {
			t.Errorf("running: %s", found)
		}
	}
	equal(t, sh(t, s, "ls /half 2>&1; true"), "ls: /half: No such file or directory\n")
	run(t, s, "echo goes on")
	ok(t, b.Close())
	nothingLeft(t, root, seconds)
}

func TestRunDeadline(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	is(t, errOf(s.Run(ctx, builder.Cmd{Args: []string{"/bin/sleep", nap()}})), context.DeadlineExceeded)
}

func TestCloseDuringRun(t *testing.T) {
	root, seconds := tempDir(t), nap()
	events := 0
	b := openIn(t, builder.Options{Root: root, Events: func(event.Event) { events++ }})
	s := base(t, b)
	up, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- errOf(s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/sh", "-c", "echo up; sleep " + seconds}, Stdout: trigger(func() { close(up) })}))
	}()
	<-up
	ok(t, b.Close())
	after := events
	is(t, <-done, builder.ErrClosed)
	if events != after {
		t.Error("an event came after Close")
	}
	nothingLeft(t, root, seconds)
}

func TestClosed(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b := open(t)
	s, other := base(t, b), base(t, b)
	img, err := s.Commit(ctx, "base", builder.CommitOptions{})
	ok(t, err)
	ok(t, s.Close())
	ok(t, s.Close())
	stageCalls := func(s *builder.Stage) map[string]func() error {
		return map[string]func() error{
			"Run": func() error { _, err := s.Run(ctx, builder.Cmd{Args: []string{"/bin/true"}}); return err },
			"ephemeral": func() error {
				_, err := s.Run(ctx, builder.Cmd{Args: []string{"/bin/true"}, Ephemeral: true})
				return err
			},
			"Copy":    func() error { _, err := s.Copy(ctx, "/", builder.Dir(baseDir)); return err },
			"Copy FS": func() error { _, err := s.Copy(ctx, "/", builder.FS(embedded)); return err },
			"Add":     func() error { _, err := s.Add(ctx, "/", builder.Dir(baseDir)); return err },
			"Workdir": func() error { _, err := s.Workdir(ctx, "/w", ""); return err },
			"Commit":  func() error { _, err := s.Commit(ctx, "x", builder.CommitOptions{}); return err },
			"Fork":    func() error { _, err := s.Fork(ctx, builder.StageOptions{}); return err },
		}
	}
	check := func(calls map[string]func() error) {
		t.Helper()
		for name, call := range calls {
			if err := call(); !errors.Is(err, builder.ErrClosed) {
				t.Errorf("%s: got %v, want ErrClosed", name, err)
			}
		}
	}
	check(stageCalls(s))
	run(t, other, "true")
	ok(t, b.Close())
	ok(t, b.Close())
	check(stageCalls(other))
	check(map[string]func() error{
		"Stage":   func() error { _, err := b.Stage(ctx, "base", builder.StageOptions{}); return err },
		"Images":  func() error { _, err := b.Images(ctx); return err },
		"Inspect": func() error { _, err := b.Inspect(ctx, img.ID); return err },
		"Tag":     func() error { return b.Tag(ctx, img.ID, "x") },
		"Remove":  func() error { _, err := b.Remove(ctx, img.ID, builder.RemoveOptions{}); return err },
		"Pull":    func() error { _, err := b.Pull(ctx, "x", builder.PullOptions{}); return err },
		"Push":    func() error { _, err := b.Push(ctx, img.ID, "dir:/x", builder.PushOptions{}); return err },
		"Info":    func() error { _, err := b.Info(ctx); return err },
	})
	ok(t, other.Close())
	ok(t, s.Close())
}

func TestOpenOfCancelledContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b, err := builder.Open(ctx, builder.Options{Root: tempDir(t)})
	is(t, err, context.Canceled)
	if b != nil {
		t.Error("a Builder beside the error")
	}
}

// The kernel undoes what a killed program had under way, and the store is as before.
func TestKill(t *testing.T) {
	root, seconds := tempDir(t), nap()
	b := openIn(t, builder.Options{Root: root})
	s := base(t, b)
	_, err := s.Commit(t.Context(), "base", builder.CommitOptions{})
	ok(t, err)
	ok(t, b.Close())
	exe, err := os.Executable()
	ok(t, err)
	program := exec.Command(exe)
	program.Env = append(os.Environ(), roleEnv+"="+root+":"+seconds)
	out, err := program.StdoutPipe()
	ok(t, err)
	start(t, program)
	line, err := bufio.NewReader(out).ReadString('\n')
	ok(t, err)
	equal(t, line, "running\n")
	workers := workersOf(t, program.Process.Pid)
	if len(workers) == 0 {
		t.Fatal("no worker is to be seen")
	}
	// A process that has just begun to execute a program has no command line for a moment.
	eventually(t, "the command is to be seen", func() bool { return processes(t, seconds) != "" })
	peer := openIn(t, builder.Options{Root: root})
	d, err := peer.Inspect(t.Context(), "base")
	ok(t, err)
	made := len(d.Layers)
	eventually(t, "the base is held", func() bool { return layerDirs(t, root) == made+1 })
	_, err = peer.Remove(t.Context(), "base", builder.RemoveOptions{Force: true})
	is(t, err, builder.ErrInUse)
	if !strings.Contains(err.Error(), fmt.Sprintf("(pid %d)", program.Process.Pid)) {
		t.Errorf("it is not said who uses the base: %v", err)
	}
	ok(t, peer.Close())
	ok(t, program.Process.Kill())
	if err := program.Wait(); err == nil {
		t.Error("the program was not killed")
	}
	eventually(t, "the command is gone", func() bool { return processes(t, seconds) == "" })
	for _, pid := range workers {
		eventually(t, "the worker is gone", func() bool { return unix.Kill(pid, 0) == unix.ESRCH })
	}
	b = openIn(t, builder.Options{Root: root})
	if dirs := layerDirs(t, root); dirs != made {
		t.Errorf("%d layers; want %d: the base is still held", dirs, made)
	}
	s = stage(t, b, "base", builder.StageOptions{})
	run(t, s, "test ! -e /half && echo whole")
	ok(t, b.Close())
	nothingLeft(t, root, seconds)
}

// A worker that is killed closes its Builder, and takes the commands along.
func TestWorkerIsKilled(t *testing.T) {
	root, seconds := tempDir(t), nap()
	before := workersOf(t, os.Getpid())
	b := openIn(t, builder.Options{Root: root})
	s := base(t, b)
	_, err := s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/sh", "-c", "echo up; sleep " + seconds}, Stdout: trigger(func() {
		killed := 0
		eventually(t, "there is a worker", func() bool {
			for _, pid := range workersOf(t, os.Getpid()) {
				if !contains(before, pid) {
					ok(t, unix.Kill(pid, unix.SIGKILL))
					killed++
				}
			}
			return killed > 0
		})
	})})
	is(t, err, builder.ErrClosed)
	_, err = b.Images(t.Context())
	is(t, err, builder.ErrClosed)
	eventually(t, "the command is gone", func() bool { return processes(t, seconds) == "" })
	ok(t, b.Close())
	b = openIn(t, builder.Options{Root: root})
	run(t, base(t, b), "true")
	ok(t, b.Close())
	nothingLeft(t, root, seconds)
}

func contains(pids []int, pid int) bool {
	for _, p := range pids {
		if p == pid {
			return true
		}
	}
	return false
}

// children lists the processes that a process started.
func children(t testing.TB, pid int) []int {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	ok(t, err)
	var pids []int
	for _, list := range lists {
		data, err := os.ReadFile(list)
		if err != nil {
			continue // the thread has ended
		}
		for word := range strings.FieldsSeq(string(data)) {
			n, err := strconv.Atoi(word)
			ok(t, err)
			pids = append(pids, n)
		}
	}
	return pids
}

func TestNothingLeaks(t *testing.T) {
	b := open(t)
	s := base(t, b)
	context := tree(t, map[string]string{"f": "f"})
	cycle := func() {
		var out strings.Builder
		ok(t, errOf(s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/sh", "-c", "cat"}, Stdin: strings.NewReader("x"), Stdout: &out, Ephemeral: true})))
		fork, err := s.Fork(t.Context(), builder.StageOptions{NoCache: true})
		ok(t, err)
		ok(t, errOf(fork.Copy(t.Context(), "/x", builder.Dir(context), s.Path("/etc"))))
		ok(t, errOf(fork.Workdir(t.Context(), "/w", "")))
		_, err = fork.Commit(t.Context(), "leaks", builder.CommitOptions{})
		ok(t, err)
		ok(t, fork.Close())
	}
	count := func() (files, workers, routines int) {
		t.Helper()
		entries, err := os.ReadDir("/proc/self/fd")
		ok(t, err)
		for _, worker := range workersOf(t, os.Getpid()) {
			fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", worker))
			if err == nil {
				workers += len(fds)
			}
		}
		return len(entries), workers, runtime.NumGoroutine()
	}
	cycle()
	cycle()
	files, workers, routines := count()
	if os.Geteuid() == 0 && workers == 0 {
		t.Fatal("no descriptor of the worker is to be seen")
	}
	for range 50 {
		cycle()
	}
	for range 10 {
		// Unpacking leaves the worker a file until its next garbage collection; us none.
		ok(t, errOf(s.Copy(t.Context(), "/x", builder.FS(embedded))))
	}
	// A goroutine that has just been told to end may still be there.
	eventually(t, fmt.Sprintf("as few as %d files, %d of the worker, %d goroutines", files, workers, routines), func() bool {
		f, w, r := count()
		return f <= files && w <= workers+15 && r <= routines
	})
}
