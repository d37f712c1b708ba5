//go:build linux

package userns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/sandbox/sandboxtest"
)

// behave is what a worker of the tests does.
const behave = "OAKUM_TEST_WORKER"

// TestMain stands for the worker: it is in its namespaces when it gets here.
func TestMain(m *testing.M) {
	kind := Started()
	if role, _ := Judge(); role == Worker {
		os.Exit(beWorker(kind, os.Getenv(behave)))
	}
	if kind := os.Getenv(beParent); kind != "" {
		os.Exit(parent(Kind(kind)))
	}
	os.Exit(m.Run())
}

func beWorker(kind Kind, how string) int {
	switch how {
	case "exit":
		fmt.Println("to its output")
		fmt.Fprintln(os.Stderr, "to its error output")
		return 3
	case "panic":
		panic("no reason")
	case "much":
		fmt.Print("first\n", strings.Repeat("line\n", 100_000), "last\n")
		return 1
	case "hang":
		fmt.Println("waiting for nothing")
		time.Sleep(time.Hour)
	case "die":
		_ = syscall.Kill(os.Getpid(), syscall.SIGSEGV)
		time.Sleep(time.Hour)
	}
	version := how
	if strings.HasPrefix(how, "refuse") || strings.HasPrefix(how, family) {
		version = ""
	}
	if err := Ready("1"+strings.TrimPrefix(version, "version"), kind, func() *Fault { return refusal(kind, how) }); err != nil {
		fmt.Println(err)
		return 1
	}
	if number, is := strings.CutPrefix(how, family); is {
		if err := exec.Command("sh", "-c", familyScript, "sh", number).Start(); err != nil {
			fmt.Println(err)
		}
	}
	fmt.Println("ready")
	_, _ = os.NewFile(ControlFD, "control").Read(make([]byte, 1)) // until the parent closes its end
	return 0
}

// refusal is what a worker that behaves so cannot do without, of a kind.
func refusal(kind Kind, how string) *Fault {
	lack, refuses := strings.CutPrefix(how, "refuse")
	lack = strings.TrimSpace(lack)
	switch {
	case !refuses, lack != "" && kind == Plain, Lack(lack) == IDs && kind == OneID, Lack(lack) == Proc && kind.SharesPIDs():
		return nil
	}
	return &Fault{Lack: Lack(lack), Missing: "refused", Fix: "mend it"}
}

// output is what a worker writes, and whether it was closed.
type output struct {
	mu     sync.Mutex
	text   strings.Builder
	closed bool
	wrote  func() // when not nil, called with each text
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.wrote != nil {
		defer o.wrote()
	}
	return o.text.Write(p)
}

func (o *output) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	return nil
}

func options(how string) Options {
	return Options{Env: []string{"PATH=" + os.Getenv("PATH"), behave + "=" + how}, Version: "1"}
}

// The worker lives until it is told to end or killed, in namespaces of its own.
func TestStart(t *testing.T) {
	t.Parallel()
	for range 3 {
		p, err := Start(t.Context(), options(""))
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-p.Done():
			t.Fatal("the worker has ended")
		case <-time.After(50 * time.Millisecond):
		}
		p.Kill()
		select {
		case <-p.Done():
		default:
			t.Error("Kill did not wait")
		}
	}
	var out output
	opts := options("")
	opts.Output = &out
	p, err := Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	p.Control.Close()
	select {
	case <-p.Done():
	case <-time.After(2 * time.Minute):
		t.Error("the worker goes on after its parent has closed the socket")
	}
	p.Kill()
	<-p.read
	if out.text.String() != "ready\n" || !out.closed {
		t.Errorf("the worker's output is %q, closed %v", out.text.String(), out.closed)
	}
}

// The program's memory is not copied for the worker, however much it is, and it is not
// hidden from the user's debuggers for that.
func TestMemoryOfTheProgram(t *testing.T) {
	const size = 64 << 20
	memory, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(memory) }()
	_ = unix.Madvise(memory, unix.MADV_NOHUGEPAGE)
	// A page whose table was copied has a fault when it is written to again.
	write := func() int64 {
		var before, after unix.Rusage
		_ = unix.Getrusage(unix.RUSAGE_SELF, &before)
		for i := 0; i < size; i += os.Getpagesize() {
			memory[i]++
		}
		_ = unix.Getrusage(unix.RUSAGE_SELF, &after)
		return after.Minflt - before.Minflt
	}
	pages := write()
	p, err := Start(t.Context(), options(""))
	if err != nil {
		t.Fatal(err)
	}
	if again := write(); again > pages/10 {
		t.Errorf("%d of %d pages have changed their place", again, pages)
	}
	p.Kill()
	if dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil || dumpable != 1 {
		t.Errorf("dumpable is %d, %v", dumpable, err)
	}
}

// The kernel kills a process when the thread that started it ends, which is not the
// caller's.
func TestCallersThreadEnds(t *testing.T) {
	t.Parallel()
	started := make(chan *Process)
	var start func()
	start = func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		if syscall.Gettid() == os.Getpid() {
			go start() // but not the first one; another goroutine has another
			<-t.Context().Done()
			return
		}
		p, err := Start(t.Context(), options(""))
		if err != nil {
			t.Error(err)
		}
		started <- p
	}
	go start()
	p := <-started
	if p == nil {
		return
	}
	select {
	case <-p.Done():
		t.Error("the worker has ended with its caller's thread")
	case <-time.After(200 * time.Millisecond):
	}
	p.Kill()
}

func TestStartOfCancelledContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if p, err := Start(ctx, options("")); p != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v", p, err)
	}
}

// A program that is not ready says why with its own words, and its output is closed.
func TestNotReady(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script := filepath.Join(dir, "script")
	for path, text := range map[string]string{
		script: "#!/bin/sh\necho I am a script; exit 4\n", filepath.Join(dir, "text"): "not a program\n", filepath.Join(dir, "lost"): "#!" + dir + "/nowhere/sh\n",
		filepath.Join(dir, "seven"): "#!/bin/sh\nprintf R7 >&3; exec sleep 1000\n", filepath.Join(dir, "odd"): "#!/bin/sh\nprintf Hello >&3; exec sleep 1000\n",
	} {
		if err := sandboxtest.WriteProgram(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "data"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	const none = "cannot be started"
	for _, test := range []struct {
		how, program, want, fix string
	}{
		{"exit", "", "the worker ended before it was ready (exit status 3); it wrote:\nto its output\nto its error output", "no init function"},
		{"panic", "", "the worker ended before it was ready (exit status 2); it wrote:\npanic: no reason", "no init function"},
		{"much", "", "the worker ended before it was ready (exit status 1); it wrote:\nfirst\nline", "no init function"},
		{"die", "", "the worker ended before it was ready (exit status 2)", "no init function"},
		{"version2", "", `this program, started again, speaks version "12" of their protocol, this program version "1"`, "build both"},
		{"", "/bin/true", "the worker ended before it was ready (exit status 0)", "/bin/true may be none"},
		{"", script, "the worker ended before it was ready (exit status 4); it wrote:\nI am a script", "may be none"},
		{"", filepath.Join(dir, "seven"), `seven speaks version "7" of their protocol, this program version "1"`, "build both"},
		{"", filepath.Join(dir, "odd"), `the worker does not speak as one: it said "Hello"`, "may be none"},
		{"", filepath.Join(dir, "missing"), none, "name an executable file"},
		{"", filepath.Join(dir, "data"), none, "name an executable file"},
		{"", filepath.Join(dir, "text"), none, "name an executable file"},
		{"", filepath.Join(dir, "lost"), none, "name an executable file"},
		{"", dir, none, "name an executable file"},
		{"", "oakum-that-is-nowhere", none, "name an executable file"},
	} {
		for _, plain := range []bool{false, true} {
			var out output
			opts := options(test.how)
			opts.Program, opts.Output, opts.Plain = test.program, &out, plain
			p, err := Start(t.Context(), opts)
			var fault *Fault
			if p != nil || !errors.As(err, &fault) || !strings.Contains(fault.Missing, test.want) || !strings.Contains(fault.Fix, test.fix) {
				t.Errorf("%s %s, plain %v: got %v, %+v", test.how, test.program, plain, p, err)
			}
			if err != nil && len(err.Error()) > 2*maxWords+500 {
				t.Errorf("%s: an error of %d bytes", test.how, len(err.Error()))
			}
			if test.how == "much" && !strings.HasSuffix(fmt.Sprint(err), "\nlast") {
				t.Errorf("the last words are missing: %v", err)
			}
			if !out.closed {
				t.Errorf("%s %s: the output is not closed", test.how, test.program)
			}
		}
	}
}

// A worker that is never ready is ended by the context.
func TestHangingStart(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	opts := options("hang")
	opts.Output = &output{wrote: cancel}
	begun := time.Now()
	p, err := Start(ctx, opts)
	if p != nil || !errors.Is(err, context.Canceled) || !strings.HasSuffix(err.Error(), "it wrote:\nwaiting for nothing") {
		t.Errorf("%v, %v", p, err)
	}
	if took := time.Since(begun); took > time.Minute {
		t.Errorf("took %v", took)
	}
}

// What keeps namespaces from being made is said with its remedy.
func TestStartFault(t *testing.T) {
	t.Parallel()
	for errno, want := range map[syscall.Errno]string{
		syscall.EPERM: "allow unprivileged user namespaces", syscall.EACCES: "allow unprivileged user namespaces",
		syscall.ENOSPC: "user.max_user_namespaces", syscall.EINVAL: "CONFIG_USER_NS", syscall.ENOMEM: "",
	} {
		err := startFault(&os.PathError{Op: "fork/exec", Path: self, Err: errno}, Options{})
		var fault *Fault
		if errors.As(err, &fault) != (want != "") || want != "" && !strings.Contains(fault.Fix, want) || !strings.Contains(err.Error(), errno.Error()) {
			t.Errorf("%v: %+v", errno, err)
		}
	}
}
