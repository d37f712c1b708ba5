//go:build linux

package builder_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/isolation"
)

// A command's processes that do all to survive it: some have left its session, some have lost their parents or are
// deaf, one is stopped, and one goes on starting others.
const familyScript = `setsid sleep $1 & (setsid sh -c "trap '' HUP INT TERM; sleep $1 & sleep $1; sleep $1" &)
	sleep $1 & kill -STOP $!; (while :; do (sleep $1 & :); sleep 0.1; done) & echo >/half; sleep 1; echo running; sleep $1`

// playFamily runs a command without namespaces that starts them, in a store at a path.
func playFamily(args string) int {
	a := strings.SplitN(args, ":", 3)
	root, files, seconds := a[0], a[1], a[2]
	ctx := context.Background()
	b, err := builder.Open(ctx, builder.Options{Root: root, Isolation: withoutNamespaces})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer b.Close()
	if level, err := b.Isolation(); level != isolation.Chroot {
		fmt.Println(level, err)
		return 1
	}
	s, err := b.Stage(ctx, builder.Scratch, builder.StageOptions{})
	if err == nil {
		_, err = s.Copy(ctx, "/", builder.Dir(files))
	}
	cmd := builder.Cmd{Args: []string{"/bin/sh", "-c", familyScript, "sh", seconds}, Stdout: os.Stdout}
	if seconds == "" {
		cmd.Args = []string{"/bin/sh", "-c", "test ! -e /half && echo whole"}
	}
	if err == nil {
		_, err = s.Run(ctx, cmd)
	}
	fmt.Println(err)
	return 1
}

// familyProgram is a program that does so as root, of a user namespace of an ordinary user's.
func familyProgram(t *testing.T, root, seconds string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	ok(t, err)
	cmd := exec.Command(exe)
	if os.Geteuid() != 0 {
		cmd = exec.Command("unshare", "--map-auto", "--map-root-user", "--setuid", "0", "--setgid", "0", exe)
	}
	cmd.Env = append(os.Environ(), roleEnv+"=family:"+root+":"+baseDir+":"+seconds)
	return cmd
}

// Where there is no PID namespace with which the kernel would end a command's processes, none is left either of a
// worker that is killed, or of a program, or of both; and the next program finds the store as it was.
func TestKillWithoutNamespaces(t *testing.T) {
	for name, which := range map[string]func(program, worker int) []int{
		"the worker":  func(_, worker int) []int { return []int{worker} },
		"the program": func(program, _ int) []int { return []int{program} },
		"both":        func(program, worker int) []int { return []int{program, worker} },
	} {
		t.Run(name, func(t *testing.T) {
			root, seconds := tempDir(t), nap()
			t.Cleanup(func() { // of what is left where the test fails
				for left := processes(t, seconds); left != ""; left = processes(t, seconds) {
					for line := range strings.Lines(left) {
						if pid, err := strconv.Atoi(strings.Fields(line)[0]); err == nil {
							_ = unix.Kill(pid, unix.SIGKILL)
						}
					}
				}
			})
			program := familyProgram(t, root, seconds)
			out, err := program.StdoutPipe()
			ok(t, err)
			start(t, program)
			lines := bufio.NewReader(out)
			line, err := lines.ReadString('\n')
			ok(t, err)
			equal(t, line, "running\n")
			workers := workersOf(t, program.Process.Pid)
			if len(workers) != 1 {
				t.Fatalf("workers %v", workers)
			}
			eventually(t, "the family is there", func() bool { return strings.Count(processes(t, seconds), seconds) >= 6 })
			for _, pid := range which(program.Process.Pid, workers[0]) {
				if err := unix.Kill(pid, unix.SIGKILL); err != nil && err != unix.ESRCH { // the first takes the second along
					t.Error(err)
				}
			}
			eventually(t, "the command is gone", func() bool { return processes(t, seconds) == "" })
			if line, _ := lines.ReadString('\n'); name == "the worker" && !strings.Contains(line, builder.ErrClosed.Error()) {
				t.Errorf("the program says %q", line)
			}
			_ = program.Wait()
			again, err := familyProgram(t, root, "").CombinedOutput()
			if string(again) != "whole\n<nil>\n" {
				t.Errorf("got %s, %v", again, err)
			}
			left, err := filepath.Glob(root + "/tree/tempdirs/oakum/*")
			if err != nil || len(left) > 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}
