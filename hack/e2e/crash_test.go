//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oakum-build/oakum/hack/internal/home"
)

// goneWithin is how long an interrupted build's remains may last: some milliseconds, and more where the machine has
// other things to do.
const goneWithin = 20 * time.Second

// sleeper is a Dockerfile whose RUN has processes in the background and in a session
// of their own, and does not end. %[1]s is an argument that no other sleep has.
const sleeper = `FROM busybox
RUN echo begun > /begun
RUN sleep %[1]s & setsid sleep %[1]s & sleep %[1]s
`

// TestKilled kills oakum itself, alone, during a RUN. Nobody is left to remove its
// scratch directory; the next build must.
func TestKilled(t *testing.T) {
	b := beginSleeper(t)
	b.end(func(pid int) error { return syscall.Kill(pid, syscall.SIGKILL) }, -1)
	waitFor(t, goneWithin-time.Since(b.ended), "processes and mounts are gone", b.remains)
	b.buildAgain()
	if files := b.newFiles("overlay/tempdirs/oakum/"); files != "" {
		t.Errorf("the next build left %s", files)
	}
}

// TestInterrupted presses Ctrl-C: the terminal signals the whole foreground group.
func TestInterrupted(t *testing.T) {
	b := beginSleeper(t)
	b.end(func(pid int) error { return syscall.Kill(-pid, syscall.SIGINT) }, 130)
	waitFor(t, goneWithin-time.Since(b.ended), "everything is gone", func() string { return b.remains() + b.newFiles("") })
	b.buildAgain()
}

// TestTerminated is what a service manager does.
func TestTerminated(t *testing.T) {
	b := beginSleeper(t)
	b.end(func(pid int) error { return syscall.Kill(pid, syscall.SIGTERM) }, 130)
	waitFor(t, goneWithin-time.Since(b.ended), "everything is gone", func() string { return b.remains() + b.newFiles("") })
	b.buildAgain()
}

// A victim is an oakum that is ended before it is done.
type victim struct {
	*testHome
	cmd    *exec.Cmd
	output strings.Builder
	family []process // all its processes
	before []string  // the store's directories before it
	ended  time.Time
}

// begin starts oakum as a shell does, with a process group of its own.
func (h *testHome) begin(args ...string) *victim {
	h.t.Helper()
	v := &victim{testHome: h, before: h.storeFiles(), cmd: h.command(oakum, args...)}
	v.cmd.Env = append(slices.Clip(v.cmd.Env), "TMPDIR=") // so that large files are in the store
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	v.cmd.Stdout, v.cmd.Stderr = &v.output, &v.output
	if err := v.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = v.cmd.Process.Kill() })
	return v
}

// look finds the processes there are now.
func (v *victim) look() { v.family = descendants(v.t, v.cmd.Process.Pid) }

// A sleepingBuild is a build in the middle of a RUN that does not end.
type sleepingBuild struct {
	*victim
	mark string // the sleeps' argument
}

// beginSleeper starts the build and waits until its RUN runs.
func beginSleeper(t *testing.T) *sleepingBuild {
	h := newHome(t)
	b := &sleepingBuild{mark: newMark()}
	// The store, the base and the first step are there before anything is measured.
	h.run(oakum, "build", "-t", "first", h.context("first", "FROM busybox\nRUN echo begun > /begun\n"))
	b.victim = h.begin("build", "-t", "never", h.context("sleeper", fmt.Sprintf(sleeper, b.mark)))
	waitFor(t, patience, "the RUN has begun", func() string {
		if n := len(sleeping(t, b.mark)); n < 3 {
			return fmt.Sprintf("%d sleeps run", n)
		}
		return ""
	})
	b.look()
	if !slices.ContainsFunc(b.family, func(p process) bool { return strings.HasPrefix(p.name, "pas") || p.name == "slirp4netns" }) {
		t.Fatalf("nothing connects the RUN's network: %+v", b.family)
	}
	if len(b.family) < 5 {
		t.Fatalf("the build has only the processes %v", b.family)
	}
	return b
}

// newMark is a number of seconds, years away, that no sleep of another process has.
func newMark() string { return fmt.Sprint(100000000 + os.Getpid()) }

// end ends the build and checks its exit status.
func (v *victim) end(signal func(pid int) error, status int) {
	v.t.Helper()
	if err := signal(v.cmd.Process.Pid); err != nil {
		v.t.Fatal(err)
	}
	v.ended = time.Now()
	_ = v.cmd.Wait()
	if got := v.cmd.ProcessState.ExitCode(); got != status {
		v.t.Errorf("oakum ended with %v, want exit status %d\n%s", v.cmd.ProcessState, status, v.output.String())
	}
}

// remains tells which processes and mounts are left; "" is none.
func (v *victim) remains() string {
	var left []string
	for _, p := range v.family {
		if p.alive() {
			left = append(left, fmt.Sprintf("process %d (%s)", p.pid, p.name))
		}
	}
	points, err := home.MountsBelow("/proc/self/mountinfo", v.graph)
	if err != nil {
		v.t.Fatal(err)
	}
	for _, point := range points {
		left = append(left, "mount "+point)
	}
	return strings.Join(left, ", ")
}

// remains are also the sleeps.
func (b *sleepingBuild) remains() string {
	left := b.victim.remains()
	for _, pid := range sleeping(b.t, b.mark) {
		left += fmt.Sprintf(", a sleep as process %d", pid)
	}
	return left
}

// newFiles lists the directories of the store below dir that were not there before.
func (v *victim) newFiles(dir string) string {
	var found []string
	for _, name := range v.storeFiles() {
		if strings.HasPrefix(name, dir) && !slices.Contains(v.before, name) {
			found = append(found, name)
		}
	}
	return strings.Join(found, ", ")
}

// buildAgain checks that the store is sound: no partial image, and a build succeeds.
func (b *sleepingBuild) buildAgain() {
	b.t.Helper()
	if out := b.run(oakum, "images"); strings.Contains(out, "never") {
		b.t.Errorf("a partial image is listed:\n%s", out)
	}
	b.run(oakum, "build", "-t", "after", b.context("after", "FROM busybox\nRUN echo again > /again\n"))
	if out := b.run("podman", "run", "--rm", "--network", "none", "after", "cat", "/again"); out != "again\n" {
		b.t.Errorf("the next image printed %q", out)
	}
}

// storeFiles lists the store's directories two levels deep, and what is in those of scratch: layers, images and
// whatever is being staged.
func (h *testHome) storeFiles() []string {
	h.t.Helper()
	var names []string
	err := filepath.WalkDir(h.graph, func(name string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it is being removed
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(h.graph, name)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			names = append(names, rel)
			if n := strings.Count(rel, "/"); n == 2 && rel != "overlay/tempdirs/oakum" || n == 3 {
				return fs.SkipDir
			}
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return names
}

// waitFor polls until problem returns "", and fails with what it returned last.
func waitFor(t *testing.T, limit time.Duration, what string, problem func() string) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		left := problem()
		if left == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not so within %v: %s: %s", limit.Round(time.Millisecond), what, left)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// A process is one that was seen; pids are used again, start times are not.
type process struct {
	pid, parent int
	start       string
	name        string
	state       string
}

// alive says whether a process has anything open still: one whose first thread has ended is a zombie while others end.
func (p process) alive() bool {
	pid := strconv.Itoa(p.pid)
	now, ok := readProcess(pid)
	if !ok || now.start != p.start {
		return false
	}
	threads, err := os.ReadDir("/proc/" + pid + "/task")
	return now.state != "Z" || err == nil && len(threads) > 1
}

// readProcess reads /proc/PID/stat (man 5 proc_pid_stat).
func readProcess(pid string) (process, bool) {
	content, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return process{}, false
	}
	// The name is in parentheses and may hold anything, also parentheses.
	text := string(content)
	open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	fields := strings.Fields(text[end+1:])
	number, _ := strconv.Atoi(pid)
	parent, _ := strconv.Atoi(fields[1])
	return process{pid: number, parent: parent, start: fields[19], name: text[open+1 : end], state: fields[0]}, true
}

func processes(t *testing.T) []process {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var all []process
	for _, entry := range entries {
		if _, err := strconv.Atoi(entry.Name()); err != nil {
			continue
		}
		if p, ok := readProcess(entry.Name()); ok {
			all = append(all, p)
		}
	}
	return all
}

// descendants lists a process and everything below it.
func descendants(t *testing.T, root int) []process {
	t.Helper()
	all := processes(t)
	family := map[int]bool{root: true}
	var found []process
	for grown := true; grown; {
		grown = false
		for _, p := range all {
			if family[p.parent] && !family[p.pid] {
				family[p.pid], grown = true, true
			}
		}
	}
	for _, p := range all {
		if family[p.pid] {
			found = append(found, p)
		}
	}
	return found
}

// sleeping lists the processes that run sleep with the argument mark.
func sleeping(t *testing.T, mark string) []int {
	t.Helper()
	var pids []int
	for _, p := range processes(t) {
		cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.pid))
		if err == nil && string(cmdline) == "sleep\x00"+mark+"\x00" {
			pids = append(pids, p.pid)
		}
	}
	return pids
}
