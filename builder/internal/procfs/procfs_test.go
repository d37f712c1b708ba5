//go:build linux

package procfs

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// envParent is set in the process that has the /proc of another PID namespace, to its parent's number there.
const envParent = "_PROCFS_TEST_PARENT"

// Here the numbers are the same.
func TestOwn(t *testing.T) {
	check(t, true, os.Getppid())
}

// In a PID namespace that sees the /proc of the one around it, each process is found by the other's number.
func TestOthers(t *testing.T) {
	if parent, err := strconv.Atoi(os.Getenv(envParent)); err == nil {
		check(t, false, parent)
		return
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestOthers$", "-test.count=1")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", envParent, os.Getpid()))
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// check looks for this process, its parent and a child.
func check(t *testing.T, own bool, parent int) {
	t.Helper()
	if Own() != own {
		t.Errorf("the numbers are this process's own: %v", Own())
	}
	self, err := Self()
	if err != nil || (self == os.Getpid()) != own {
		t.Errorf("this process, %d, is %d in /proc: %v", os.Getpid(), self, err)
	}
	if got, err := Parent(); err != nil || got != parent {
		t.Errorf("the parent is %d, %v, want %d", got, err, parent)
	}
	child := exec.Command("sleep", "7654326")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = child.Process.Kill() })
	number, err := Number(child.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", number))
	for range 10000 { // for the moment after it has begun to execute its program, when it has none
		if err != nil || len(line) > 0 {
			break
		}
		time.Sleep(time.Millisecond)
		line, err = os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", number))
	}
	if err != nil || !strings.Contains(string(line), "7654326") {
		t.Errorf("the child is %q, %v", line, err)
	}
	if pid, err := PID(number); err != nil || pid != child.Process.Pid {
		t.Errorf("the child of the number %d is %d, %v, want %d", number, pid, err, child.Process.Pid)
	}
	_ = child.Process.Kill()
	if pid, err := PID(number); err != nil || pid != child.Process.Pid {
		t.Errorf("the dead child of the number %d is %d, %v, want %d", number, pid, err, child.Process.Pid)
	}
	_ = child.Wait()
	if number, err := Number(child.Process.Pid); err == nil && !own {
		t.Errorf("a process that is no more has the number %d", number)
	}
}
