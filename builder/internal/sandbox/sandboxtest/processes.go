//go:build linux

package sandboxtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/sandbox"
)

// testRestEnds: Run does not wait for what the command leaves running, and leaves nothing.
func testRestEnds(t *testing.T, p *place, _ sandbox.Isolation) {
	start := time.Now()
	token := "/tmp/../bin/probe"
	equal(t, "output", p.sh(t, "("+token+" tree; :) >/dev/null & busybox setsid busybox sleep 987654 & busybox sleep 0.2; echo done"), "done\n")
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("the command's background processes were waited for: %v", took)
	}
	noProcesses(t, token, "987654")
}

// noProcesses wants no process with one of some words in its command line.
func noProcesses(t testing.TB, words ...string) {
	t.Helper()
	for _, word := range words {
		for _, line := range running(t, word) {
			t.Errorf("still running: %q", line)
		}
	}
}

// running gives the processes with a word in their command lines.
func running(t testing.TB, word string) map[int]string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	ok(t, err)
	found := map[int]string{}
	for _, file := range files {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		ok(t, err)
		if data, _ := os.ReadFile(file); strings.Contains(string(data), word) {
			found[pid] = string(data)
		}
	}
	return found
}

// start starts a command, waits until it says that it is up, and gives what Run will.
func (p *place) start(ctx context.Context, t testing.TB, c sandbox.Command) (result func() (int, error)) {
	t.Helper()
	in, end, err := os.Pipe()
	ok(t, err)
	from, to, err := os.Pipe()
	ok(t, err)
	c.Stdio = sandbox.Stdio{In: in, Out: to, Err: to}
	done := make(chan struct{})
	var code int
	go func() {
		defer close(done)
		code, err = p.sandboxed(ctx, t, c)
		to.Close()
	}()
	line, readErr := bufio.NewReader(from).ReadString('\n')
	if line != "up\n" {
		<-done
		t.Fatalf("the command says %q, %v; %v", line, readErr, err)
	}
	return func() (int, error) {
		<-done
		for _, f := range []*os.File{in, end, from} {
			f.Close()
		}
		return code, err
	}
}

// testCancel: the whole tree of processes is gone when Run returns.
func testCancel(t *testing.T, p *place, _ sandbox.Isolation) {
	for _, u := range users {
		ctx, cancel := context.WithCancel(t.Context())
		c := p.command("/bin/./probe", "tree")
		c.Process.User = u
		result := p.start(ctx, t, c)
		start := time.Now()
		cancel()
		if _, err := result(); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(start); took > time.Minute {
			t.Errorf("it took %v", took)
		}
		noProcesses(t, "/bin/./probe")
	}
}

func testCancelledBefore(t *testing.T, p *place, _ sandbox.Isolation) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := p.run(ctx, t, p.command("/bin/sh", "-c", "busybox touch /tmp/ran")); !errors.Is(err, context.Canceled) || exists(p.root+"/tmp/ran") {
		t.Errorf("got %v", err)
	}
}

func exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}

// testKilled: who kills the first process from outside ends the command.
func testKilled(t *testing.T, p *place, i sandbox.Isolation) {
	token := "/./bin/probe"
	result := p.start(t.Context(), t, p.command(token, "tree"))
	first := 0
	for pid := range running(t, token) {
		mark := "\t1\nNSpgid" // the first in its namespace
		if !own(i, "pid") {
			mark = fmt.Sprintf("\nPPid:\t%d\n", os.Getpid())
		}
		if status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); strings.Contains(string(status), mark) {
			first = pid
		}
	}
	if first == 0 {
		t.Fatal("the command is not there")
	}
	ok(t, unix.Kill(first, unix.SIGKILL))
	if code, err := result(); err != nil || code != 128+int(unix.SIGKILL) {
		t.Errorf("status %d, %v", code, err)
	}
	noProcesses(t, token)
}

// testMany: commands do not disturb each other.
func testMany(t *testing.T, p *place, i sandbox.Isolation) {
	places, names := make([]*place, 8), make([]string, 8)
	for n := range places {
		places[n], names[n] = p, fmt.Sprintf("machine%d", n)
		if p.sandbox.Fills() { // of which one root file system can only be had by one; no program is written while others start
			places[n], names[n] = p.another(t, n), hostname(t, i)
		}
	}
	var all sync.WaitGroup
	for n, p := range places {
		name := names[n]
		all.Go(func() {
			c := p.command("/bin/sh", "-c", "echo "+strconv.Itoa(n)+" >>/etc/hosts; busybox tail -n 2 /etc/hosts; busybox hostname; exit "+strconv.Itoa(n))
			c.Hostname = name
			out, code, err := p.run(t.Context(), t, c)
			if want := fmt.Sprintf("127.0.1.1\t%s\n%d\n%[1]s\n", name, n); err != nil || code != n || out != want {
				t.Errorf("%d: %q, status %d, %v", n, out, code, err)
			}
		})
	}
	all.Wait()
}

// testSameAgain: two commands find the same, so that reports can be compared.
func testSameAgain(t *testing.T, p *place, _ sandbox.Isolation) {
	for _, line := range Compare(p.report(t, root), p.report(t, root), nil) {
		t.Error(line)
	}
}

// mountsHere counts the mounts of this process, over each path.
func mountsHere(t testing.TB) map[string]int {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mounts")
	ok(t, err)
	points := map[string]int{}
	for line := range strings.Lines(string(data)) {
		points[strings.Fields(line)[1]]++
	}
	return points
}

// nothingLeft: no mount, no process, no file of the sandbox's.
func nothingLeft(t *testing.T, p *place, before map[string]int) {
	before[filepath.Dir(p.root)]++ // the place itself
	for point, count := range mountsHere(t) {
		if count != before[point] {
			t.Errorf("still mounted over %s: %d times, and before %d", point, count, before[point])
		}
	}
	noProcesses(t, "probe", "runc")
	ok(t, filepath.WalkDir(p.state, func(name string, d os.DirEntry, err error) error {
		if err == nil && strings.Count(strings.TrimPrefix(name, p.state), "/") > 1 {
			t.Errorf("left: %s", name)
		}
		return err
	}))
	cgroups, err := filepath.Glob("/sys/fs/cgroup/run[0-9]*")
	if err != nil || len(cgroups) > 0 {
		t.Errorf("cgroups: %v, %v", cgroups, err)
	}
}
