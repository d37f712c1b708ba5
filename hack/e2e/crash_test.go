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
)

// goneWithin is how long an interrupted build's remains may last.
const goneWithin = 2 * time.Second

// sleeper is a Dockerfile whose RUN has processes in the background and in a session
// of their own, and never ends. The sleeps have an argument that no other has.
const sleeper = `FROM busybox
RUN echo begun > /begun
RUN sleep %[1]s & setsid sleep %[1]s & sleep %[1]s
`

// TestKilled kills oakum itself, alone, during a RUN.
func TestKilled(t *testing.T) {
	testInterrupted(t, "31415926", func(cmd *exec.Cmd) error { return cmd.Process.Kill() }, -1)
}

// TestInterrupted presses Ctrl-C: the terminal signals the whole foreground group.
func TestInterrupted(t *testing.T) {
	testInterrupted(t, "27182818", func(cmd *exec.Cmd) error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }, 130)
}

// TestTerminated is what a service manager does.
func TestTerminated(t *testing.T) {
	testInterrupted(t, "14142135", func(cmd *exec.Cmd) error { return cmd.Process.Signal(syscall.SIGTERM) }, 130)
}

// testInterrupted ends a build in the middle of a RUN, checks that within goneWithin
// its processes, mounts and files are gone, and that the next build succeeds.
func testInterrupted(t *testing.T, mark string, end func(*exec.Cmd) error, code int) {
	h := newHome(t)
	// The store is made and the base is there before anything is measured.
	h.run(oakum, "build", "-t", "first", h.context("first", "FROM busybox\nRUN true\n"))
	context := h.context("sleeper", fmt.Sprintf(sleeper, mark))
	h.run(oakum, "build", "-t", "second", h.context("second", "FROM busybox\nRUN echo begun > /begun\n"))
	before := h.storeFiles()

	cmd := h.command(oakum, "build", "-t", "never", context)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, 30*time.Second, "the RUN has begun", func() string {
		if n := len(sleeping(t, mark)); n < 3 {
			return fmt.Sprintf("%d sleeps run", n)
		}
		return ""
	})
	tree := descendants(t, cmd.Process.Pid)
	if len(tree) < 4 {
		t.Fatalf("the build has only %d descendants: %v", len(tree), tree)
	}
	if err := end(cmd); err != nil {
		t.Fatal(err)
	}
	ended := time.Now()
	err := cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != code {
		t.Errorf("the build ended with %v, want exit status %d\n%s", err, code, output.String())
	}
	waitFor(t, goneWithin-time.Since(ended), "the build's remains are gone", func() string {
		return h.remains(t, tree, mark, before)
	})
	if out := h.run(oakum, "images"); strings.Contains(out, "never") {
		t.Errorf("a partial image is listed:\n%s", out)
	}
	h.run(oakum, "build", "-t", "after", h.context("after", "FROM busybox\nRUN echo again > /again\n"))
	if out := h.run("podman", "run", "--rm", "--network", "none", "after", "cat", "/again"); out != "again\n" {
		t.Errorf("the next image printed %q", out)
	}
}

// remains tells what is left of an interrupted build; "" is nothing.
func (h *home) remains(t *testing.T, tree []process, mark string, before []string) string {
	var left []string
	for _, p := range tree {
		if p.alive() {
			left = append(left, fmt.Sprintf("process %d (%s)", p.pid, p.name))
		}
	}
	for _, pid := range sleeping(t, mark) {
		left = append(left, fmt.Sprintf("a sleep as process %d", pid))
	}
	for _, point := range mountsBelow(t, "/proc/self/mountinfo", h.graph) {
		left = append(left, "mount "+point)
	}
	for _, name := range h.storeFiles() {
		if !slices.Contains(before, name) {
			left = append(left, "file "+name)
		}
	}
	return strings.Join(left, ", ")
}

// storeFiles lists the store's directories two levels deep: layers, images and
// whatever is being staged.
func (h *home) storeFiles() []string {
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
			if strings.Count(rel, "/") == 2 {
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

func (p process) alive() bool {
	now, ok := readProcess(strconv.Itoa(p.pid))
	return ok && now.start == p.start && now.state != "Z"
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
