//go:build linux

package reaper

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// marked says whether a process has no new privileges, as those of these tests' commands.
func marked(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return err == nil && bytes.Contains(status, []byte("NoNewPrivs:\t1"))
}

// start starts a script as a command that takes those of its processes whose parents end.
func start(t *testing.T, r *Reaper, script string) *os.Process {
	t.Helper()
	pid, err := r.Start(func() (int, error) {
		return syscall.ForkExec("/usr/bin/setpriv", []string{"setpriv", "--no-new-privs", "sh", "-c", script}, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}})
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// mark is a number of seconds, years away, that no other sleep on this machine begins with, so that these tests
// see none of others that run at the same time.
var mark = fmt.Sprint(time.Now().UnixNano())

// running are the processes whose command lines have a word.
func running(t *testing.T, word string) (pids []int) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if line, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline"); err == nil && strings.Contains(string(line), word) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Whatever a command has left is gone: what has left its session, its parents, or stopped, and what goes on
// starting others. Other commands, and children that are no command's, stay.
func TestEnd(t *testing.T) {
	r, err := New(marked)
	if err != nil {
		t.Fatal(err)
	}
	other := exec.Command("sleep", mark+"1")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Process.Kill() })
	neighbour := start(t, r, "setsid sleep "+mark+"2 & sleep "+mark+"2; true")
	for name, script := range map[string]string{
		"nothing":            "exit 0",
		"in the background":  "sleep MARK & exit 0",
		"another session":    "setsid sleep MARK & (setsid sh -c 'setsid sleep MARK & exit' &); exit 0",
		"a stopped one":      "sleep MARK & kill -STOP $!; exit 0",
		"deaf ones":          "(trap '' HUP INT TERM; sleep MARK; sleep MARK) & exit 0",
		"one that goes on":   "(while :; do sleep MARK & sleep 0.001; done) & exit 0",
		"many":               "for i in 1 2 3 4 5 6 7 8 9; do (sleep MARK & sleep MARK & wait) & done; exit 0",
		"killed by a signal": "sleep MARK & kill -9 $$",
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, r, strings.ReplaceAll(script, "MARK", mark+"3"))
			if _, err := p.Wait(); err != nil {
				t.Fatal(err)
			}
			if err := r.End(p.Pid); err != nil {
				t.Error(err)
			}
			if left := running(t, mark+"3"); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
	if pids := running(t, mark+"1"); len(pids) != 1 {
		t.Errorf("a child that is no command's: %v", pids)
	}
	if pids := running(t, mark+"2"); len(pids) < 2 {
		t.Errorf("of another command: %v", pids)
	}
	_ = neighbour.Kill()
	_, _ = neighbour.Wait()
	if err := r.End(neighbour.Pid); err != nil {
		t.Error(err)
	}
	if err := other.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = other.Wait()
	if left := running(t, mark); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// The same where /proc has other numbers, of which some are in this PID namespace other processes'.
func TestEndByOtherNumbers(t *testing.T) {
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestEnd$", "-test.count=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// No dead process stays, either.
func TestNoZombies(t *testing.T) {
	r, err := New(marked)
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, r, "(sleep 0.01 &) ; (sleep "+mark+"4 &); exit 0")
	if _, err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := r.End(p.Pid); err != nil {
		t.Fatal(err)
	}
	if !childless() {
		var info unix.WaitStatus
		pid, _ := unix.Wait4(-1, &info, unix.WNOHANG, nil)
		t.Errorf("a child is left: %d", pid)
	}
}

// A process is not taken for another one that has its number now.
func TestKillOther(t *testing.T) {
	proc, err := os.Open("/proc")
	if err != nil {
		t.Fatal(err)
	}
	defer proc.Close()
	cmd := exec.Command("sleep", mark+"5")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	p, there := look(proc, cmd.Process.Pid, make([]byte, 1024))
	p.pid = cmd.Process.Pid
	if !there || p.parent != os.Getpid() || p.name == "" {
		t.Fatalf("%+v, %v", p, there)
	}
	other := p
	other.born = "1"
	other.kill(unix.SIGKILL, proc)
	time.Sleep(10 * time.Millisecond)
	if now, there := look(proc, p.number, make([]byte, 1024)); !there || now.born != p.born {
		t.Error("it was killed by the number alone")
	}
	p.kill(unix.SIGKILL, proc)
	if err := cmd.Wait(); err == nil {
		t.Error("it was not killed")
	}
}
