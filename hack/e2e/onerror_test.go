//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// failing is a Dockerfile whose RUN leaves something and fails. Another stage writes meanwhile.
const failing = `FROM busybox AS noisy
RUN for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do echo noise; sleep 1; done
FROM busybox
ENV OF_IMAGE=1
SHELL ["/bin/sh", "-e", "-c"]
WORKDIR /work
RUN --mount=type=secret,id=s,env=SECRET --mount=type=tmpfs,target=/scratch \
    echo left >left; sleep 2; exit 3
COPY --from=noisy /etc/passwd /
`

// a typist types into the terminal of a build.
type typist struct {
	t        *testing.T
	terminal *os.File
	cmd      *exec.Cmd
	output   lockedBuffer
}

// inTerminal starts a command in a terminal of its own.
func inTerminal(t *testing.T, cmd *exec.Cmd) *typist {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 33, Col: 111})
	}
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	w := &typist{t: t, terminal: master, cmd: cmd}
	go func() {
		buf := make([]byte, 4096)
		for failed := 0; failed < 2; { // the kernel may say that there is no more before the last output is there
			n, err := master.Read(buf)
			_, _ = w.output.Write(buf[:n])
			if err != nil {
				failed++
			}
		}
	}()
	return w
}

// sees waits until a text is on the terminal.
func (w *typist) sees(text string) {
	w.t.Helper()
	waitFor(w.t, patience, text, func() string {
		if !strings.Contains(w.output.String(), text) {
			return "the terminal shows\n" + w.output.String()
		}
		return ""
	})
}

// types types a text. Nobody may read the terminal any more: what ends and sees find counts.
func (w *typist) types(text string) {
	w.t.Helper()
	if _, err := w.terminal.WriteString(text); err != nil && !errors.Is(err, unix.EIO) {
		w.t.Fatal(err)
	}
}

// ends waits for the command.
func (w *typist) ends(status int) {
	w.t.Helper()
	_ = w.cmd.Wait()
	if got := w.cmd.ProcessState.ExitCode(); got != status {
		w.t.Errorf("it ended with %v, want exit status %d\n%s", w.cmd.ProcessState, status, w.output.String())
	}
}

func (h *testHome) failingBuild(t *testing.T) *typist {
	cmd := h.command(oakum, "build", "--on-error=shell", "--secret", "id=s,env=GIVEN", h.context("failing", failing))
	cmd.Env = append(cmd.Env, "GIVEN=token", "TERM=xterm")
	return inTerminal(t, cmd)
}

// build --on-error=shell is a shell where a command failed, with its files, mounts and
// environment, in the terminal that oakum has. The progress of other stages waits meanwhile.
func TestShellOnError(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	w := h.failingBuild(t)
	w.sees("leave it by exit")
	w.types("echo in $(pwd): $(cat left) $OF_IMAGE $SECRET $(stty size) $(mount | grep -c scratch) $(tty) $-; trap 'echo caught' INT\n")
	w.sees("in /work: left 1 token 33 111 1 /dev/pts/0 ")
	mark := fmt.Sprint(400000000 + os.Getpid())
	w.types("sleep " + mark + "\n")
	waitFor(t, patience, "the shell's command runs", func() string {
		if len(sleeping(t, mark)) == 0 {
			return w.output.String() + "."
		}
		return ""
	})
	time.Sleep(2 * time.Second) // in which the other stage has made noise
	shown := w.output.String()
	w.types("\x03") // to the shell, and not to oakum; its -e may end it for the command that failed
	w.sees("^Ccaught")
	w.types("echo more >more; cat more nothing; exit 9\n")
	w.ends(3)
	w.sees("exit status 3")
	_, inShell, _ := strings.Cut(shown, "leave it by exit")
	if strings.Contains(inShell, "noise") || strings.Count(shown, "on-error:") != 2 {
		t.Errorf("the terminal showed\n%s", shown)
	}
	state, err := unix.IoctlGetTermios(int(w.terminal.Fd()), unix.TCGETS)
	if err != nil || state.Lflag&unix.ICANON == 0 {
		t.Errorf("the terminal is left as %+v, %v", state, err)
	}
	if out := h.run(oakum, "images", "-q"); strings.Count(out, "\n") != 1 {
		t.Errorf("there are images beside the base:\n%s", out)
	}
}

// What ends oakum ends the shell.
func TestShellOnErrorEnds(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		signal syscall.Signal
		status int
	}{"terminated": {syscall.SIGTERM, 130}, "killed": {syscall.SIGKILL, -1}} {
		t.Run(name, func(t *testing.T) {
			h := newHome(t)
			w := h.failingBuild(t)
			w.sees("leave it by exit")
			mark := fmt.Sprint(300000000 + 100*os.Getpid() + int(test.signal))
			w.types("sleep " + mark + "\n")
			waitFor(t, patience, "the shell's command runs", func() string {
				if len(sleeping(t, mark)) == 0 {
					return w.output.String() + "."
				}
				return ""
			})
			if err := w.cmd.Process.Signal(test.signal); err != nil {
				t.Fatal(err)
			}
			w.ends(test.status)
			waitFor(t, patience, "all is gone", func() string { return gone(sleeping(t, mark)) })
		})
	}
}
