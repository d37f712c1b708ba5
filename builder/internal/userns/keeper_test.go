//go:build linux && (amd64 || arm64)

package userns

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// family is how a worker behaves that starts processes which do all to survive it: others that have left its
// session, whose parents have ended, that are deaf or stopped, and that go on starting others.
const (
	family       = "family "
	familyScript = `setsid sleep $1 & (setsid sh -c "trap '' HUP INT TERM; sleep $1 & sleep $1; sleep $1" &)
		sleep $1 & kill -STOP $!; (while :; do (sleep $1 & :); sleep 0.05; done) & sleep $1`
)

// beParent has this program start a worker of a kind, which has such a family, and wait.
const beParent = "OAKUM_TEST_PARENT"

func parent(kind Kind) int {
	p, err := try(context.Background(), self, options(os.Getenv(behave)), kind)
	fmt.Println(err)
	if err == nil {
		<-p.Done()
	}
	return 1
}

// having gives the processes with a word in their command lines.
func having(t *testing.T, word string) (pids []int) {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if line, _ := os.ReadFile(name); strings.Contains(string(line), word) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

// below gives the children of a process.
func below(t *testing.T, pid int) (pids []int) {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		data, _ := os.ReadFile(list)
		for word := range strings.FieldsSeq(string(data)) {
			n, err := strconv.Atoi(word)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, n)
		}
	}
	return pids
}

// endAll ends what a test that fails leaves: who goes on starting others is the first of them.
func endAll(t *testing.T, word string) {
	for left := having(t, word); len(left) > 0; left = having(t, word) {
		for _, pid := range left {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}

// isWorker tells the worker from what it has started, some of which may just be executing a program.
func isWorker(pid int) bool {
	line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return strings.HasPrefix(string(line), workerArg+"\x00")
}

// gone says that a process is dead, though its parent may not have been told.
func gone(pid int) bool {
	line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return len(line) == 0
}

// within waits for a condition.
func within(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
	}
}

// kept are the kinds of workers that this user can have, and that have no PID namespace.
func kept() []Kind {
	if os.Geteuid() == 0 {
		return []Kind{rootShared, allIDsShared, Plain}
	}
	return []Kind{allIDsShared, oneIDShared, Plain}
}

// Whoever is killed, the worker, its parent or both, and however the worker ends, nothing is left of what it has
// started.
func TestKeeper(t *testing.T) {
	t.Parallel()
	kill := func(pids ...int) {
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
	for i, kind := range kept() {
		for j, test := range []struct {
			name string
			end  func(parent *os.Process, keeper, worker int)
		}{
			{"worker", func(_ *os.Process, _, worker int) { kill(worker) }},
			{"parent", func(parent *os.Process, _, _ int) { kill(parent.Pid) }},
			{"both", func(parent *os.Process, _, worker int) { kill(parent.Pid, worker) }},
			{"worker, then parent", func(parent *os.Process, _, worker int) { kill(worker, parent.Pid) }},
			{"SIGTERM", func(_ *os.Process, keeper, _ int) { _ = unix.Kill(keeper, unix.SIGTERM) }},
		} {
			t.Run(string(kind)+"/"+test.name, func(t *testing.T) {
				number := fmt.Sprintf("7%d%d%d", os.Getpid(), i, j)
				defer endAll(t, number)
				exe, err := os.Executable()
				if err != nil {
					t.Fatal(err)
				}
				cmd := exec.Command(exe)
				cmd.Env = append(os.Environ(), beParent+"="+string(kind), behave+"="+family+number)
				out, err := cmd.StdoutPipe()
				if err == nil {
					err = cmd.Start()
				}
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = cmd.Process.Kill() })
				if line, _ := bufio.NewReader(out).ReadString('\n'); line != "<nil>\n" {
					t.Fatal(line)
				}
				within(t, "the family is there", func() bool { return len(having(t, number)) > 8 })
				keepers := below(t, cmd.Process.Pid)
				if len(keepers) != 1 {
					t.Fatalf("the parent has started %v", keepers)
				}
				workers := slices.DeleteFunc(below(t, keepers[0]), func(pid int) bool { return !isWorker(pid) })
				if len(workers) != 1 {
					t.Fatalf("the keeper has started %v", workers)
				}
				test.end(cmd.Process, keepers[0], workers[0])
				_ = cmd.Wait() // which sees the keeper's end, if nobody has killed it
				within(t, "nothing is left", func() bool {
					return len(having(t, number)) == 0 && gone(keepers[0]) && gone(workers[0])
				})
			})
		}
	}
}

// Kill returns when nothing is left, and a worker that ends by itself leaves nothing.
func TestKeeperOfOurs(t *testing.T) {
	t.Parallel()
	for i, kind := range kept() {
		for j, end := range []func(p *Process){
			func(p *Process) { p.Kill() },
			func(p *Process) { p.Control.Close(); <-p.Done() },
		} {
			number := fmt.Sprintf("8%d%d%d", os.Getpid(), i, j)
			p, err := try(t.Context(), self, options(family+number), kind)
			if err != nil {
				t.Fatal(err)
			}
			if !p.kept {
				t.Error("there is no keeper")
			}
			within(t, "the family is there", func() bool { return len(having(t, number)) > 8 })
			end(p)
			if left := having(t, number); len(left) > 0 {
				t.Errorf("%s, %d: left: %v", kind, j, left)
				endAll(t, number)
			}
			if j == 1 && !p.cmd.ProcessState.Success() {
				t.Errorf("%s: it has ended as %v", kind, p.cmd.ProcessState)
			}
			p.Kill()
		}
	}
}

// The keeper ends as what it has started, and says why that could not be executed.
func TestKeeperAlone(t *testing.T) {
	t.Parallel()
	number := fmt.Sprintf("6%d", os.Getpid())
	for _, test := range []struct{ program, script, want, said string }{
		{"/bin/sh", "exit 0", "<nil>", ""}, {"/bin/sh", "exit 3", "exit status 3", ""}, {"/bin/sh", "kill -9 $$", "signal: killed", ""}, {"/bin/sh", "kill -TERM $$", "exit status 143", ""},
		{"/bin/sh", "(setsid sleep $1 &); exit 255", "exit status 255", ""}, {"/bin/sh", familyScript + " & sleep 0.1; exit 4", "exit status 4", ""},
		{"/none", "", "exit status 127", "E\x02\x00\x00\x00"}, {"/", "", "exit status 127", "E\x0d\x00\x00\x00"},
	} {
		code, err := openKeeper()
		if err != nil {
			t.Fatal(err)
		}
		from, to, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(descriptor(4))
		cmd.Args = []string{keeperArg, children, test.program, "sh", "-c", test.script, "sh", number}
		cmd.ExtraFiles = []*os.File{to, code}
		if got := fmt.Sprint(cmd.Run()); got != test.want {
			t.Errorf("%s %s: %s, want %s", test.program, test.script, got, test.want)
		}
		if left := having(t, number); len(left) > 0 {
			t.Errorf("%s: left: %v", test.script, left)
			endAll(t, number)
		}
		to.Close()
		if said, err := io.ReadAll(from); err != nil || string(said) != test.said {
			t.Errorf("%s %s: it says %q, %v", test.program, test.script, said, err)
		}
		from.Close()
		code.Close()
	}
}

// A worker has no file and no signal that it would not have without a keeper, which has none of its files.
func TestKeeperFiles(t *testing.T) {
	t.Parallel()
	p, err := try(t.Context(), self, options(""), Plain)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	keeper := p.cmd.Process.Pid
	within(t, "the keeper has closed its files", func() bool { // which it does after it has started the worker
		files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", keeper))
		if err != nil {
			t.Fatal(err)
		}
		return !slices.ContainsFunc(files, func(f os.DirEntry) bool {
			to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", keeper, f.Name()))
			from, _ := os.Readlink("/proc/self/fd/" + f.Name()) // that every child has of who started the tests
			return to != from
		})
	})
	workers := below(t, keeper)
	if len(workers) != 1 {
		t.Fatalf("the keeper has started %v", workers)
	}
	worker := workers[0]
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", worker))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", worker, f.Name()))
		if strings.Contains(to, "memfd") || strings.HasSuffix(to, ".test") {
			t.Errorf("descriptor %s of the worker is %s", f.Name(), to)
		}
	}
	own, err := os.Readlink(self)
	if exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", worker)); err != nil || exe != own {
		t.Errorf("the worker is %s, and this program %s, %v", exe, own, err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", worker))
	if err != nil || !strings.Contains(string(status), "\nSigBlk:\t0000000000000000\n") {
		t.Errorf("%v\n%s", err, status)
	}
}
