//go:build linux

package e2e

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// secretly is a command that has the secret as two files and a variable. %s is what it does then.
const secretly = `FROM busybox
RUN echo begun >/begun
RUN --mount=type=secret,id=s,target=/a/b/s --mount=type=secret,id=s,env=SECRET --mount=type=secret,id=f \
    test "$(cat /a/b/s)" = "$SECRET" && cmp -s /a/b/s /run/secrets/f && %s
RUN [ ! -e /a/b/s ] && [ ! -e /run/secrets/f ] && [ -z "$SECRET" ]
COPY Dockerfile /a/b/s
`

// A secretBuild is a build whose secret is known to this test alone, but for the caller's variable
// and file.
type secretBuild struct {
	*testHome
	token  string
	mark   string // the argument of the sleep in the command
	cmd    *exec.Cmd
	output lockedBuffer
}

// lockedBuffer can be read while it is written to.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// secretBuilds counts them.
var secretBuilds atomic.Int32

func newSecretBuild(t *testing.T, script string) *secretBuild {
	t.Helper()
	b := &secretBuild{testHome: newHome(t), token: "tok" + rand.Text(), mark: fmt.Sprint(200000000 + secretBuilds.Add(1))}
	given := filepath.Join(t.TempDir(), "given") // beside the places that are searched
	if err := os.WriteFile(given, []byte(b.token), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(b.dir, "tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	context := b.context("c", fmt.Sprintf(secretly, strings.ReplaceAll(script, "MARK", b.mark)))
	b.cmd = b.command(oakum, "build", "--progress=plain", "-t", "secretly", "--secret", "id=s,env=GIVEN", "--secret", "id=f,src="+given, context)
	b.cmd.Env = append(b.cmd.Env, "GIVEN="+b.token, "TMPDIR="+filepath.Join(b.dir, "tmp"))
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	b.cmd.Stdout, b.cmd.Stderr = &b.output, &b.output
	return b
}

// begin starts the build and waits until its command has the secret.
func (b *secretBuild) begin() {
	b.t.Helper()
	if err := b.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL) })
	waitFor(b.t, patience, "the command has begun", func() string {
		if len(sleeping(b.t, b.mark)) == 0 {
			return "not yet: " + b.output.String()
		}
		return ""
	})
}

// end waits for the build.
func (b *secretBuild) end(status int) {
	b.t.Helper()
	_ = b.cmd.Wait()
	if got := b.cmd.ProcessState.ExitCode(); got != status {
		b.t.Errorf("the build ended with %v, want exit status %d\n%s", b.cmd.ProcessState, status, b.output.String())
	}
}

// nowhere fails the test where the secret is found: in files, in what was printed, or in more.
func (b *secretBuild) nowhere(when string, more ...string) {
	b.t.Helper()
	encoded := base64.StdEncoding.EncodeToString([]byte(b.token))[:len(b.token)]
	for _, text := range append(more, b.output.String()) {
		if strings.Contains(text, b.token) || strings.Contains(text, encoded) {
			b.t.Errorf("%s: the secret is in\n%s", when, text)
		}
	}
	search := func(places ...string) (found, stderr string, status int) {
		args := append([]string{"grep", "-rlaF", "-e", b.token, "-e", encoded}, places...)
		if os.Geteuid() != 0 { // files of subordinate ids are readable in their user namespace alone
			args = append([]string{"buildah", "unshare"}, args...)
		}
		found, stderr, err := b.try(args[0], args[1:]...)
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			status = exit.ExitCode()
		}
		return found, stderr, status
	}
	found, stderr, status := search(b.dir)
	for tries := 0; status == 2 && found == "" && strings.Contains(stderr, "No such file or directory") && tries < 20; tries++ {
		found, stderr, status = search(b.dir) // what was written got its name meanwhile, as a layer's record does beside the next step
	}
	if status != 1 {
		b.t.Errorf("%s: the secret is in %s (%d) %s", when, found, status, stderr)
	}
	if found, _, _ := search("-s", "/dev/shm"); found != "" { // where others have files too
		b.t.Errorf("%s: the secret is in %s", when, found)
	}
}

// processes fails the test when another process than oakum itself, whose variable it is, and the
// command has the secret in its arguments or environment.
func (b *secretBuild) processes() {
	b.t.Helper()
	may := map[int]bool{os.Getpid(): true, b.cmd.Process.Pid: true}
	seen := 0
	for _, pid := range sleeping(b.t, b.mark) {
		may[pid] = true
		if p, ok := readProcess(fmt.Sprint(pid)); ok {
			may[p.parent] = true
		}
	}
	for _, p := range processes(b.t) {
		args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.pid))
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.pid))
		if bytes.Contains(args, []byte(b.token)) || bytes.Contains(env, []byte(b.token)) && !may[p.pid] {
			b.t.Errorf("process %d (%s) has the secret", p.pid, p.name)
		}
		if err == nil {
			seen++
		}
	}
	if seen < 2 {
		b.t.Errorf("the environment of %d processes could be read", seen)
	}
}

// After a build that succeeds or fails the secret is nowhere, in the image neither.
func TestSecretAfterBuild(t *testing.T) {
	t.Parallel()
	for script, status := range map[string]int{"true": 0, "exit 3": 3} {
		b := newSecretBuild(t, script)
		_ = b.cmd.Run()
		b.end(status)
		b.nowhere(script)
		if status != 0 {
			continue
		}
		archive := filepath.Join(b.dir, "image.tar")
		b.run("skopeo", "copy", "--quiet", "containers-storage:localhost/secretly", "docker-archive:"+archive)
		b.nowhere("the image", b.run(oakum, "history", "secretly"), b.run(oakum, "inspect", "secretly"), b.run(oakum, "images"))
		// The same build once more finds all, with another secret too.
		again := b.command(oakum, b.cmd.Args[1:]...)
		again.Env = append(b.cmd.Env, "GIVEN=another")
		out, err := again.CombinedOutput()
		if n := strings.Count(string(out), "CACHED"); err != nil || n != 4 {
			t.Errorf("%v, %d steps were found\n%s", err, n, out)
		}
	}
}

// Whatever ends a build while its command has the secret, it goes: Ctrl-C, and the
// death of oakum or its worker, after which nobody is left to remove anything.
func TestSecretAfterDeath(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		kill   func(b *secretBuild) error
		status int
	}{
		"Ctrl-C":     {func(b *secretBuild) error { return syscall.Kill(-b.cmd.Process.Pid, syscall.SIGINT) }, 130},
		"killed":     {func(b *secretBuild) error { return b.cmd.Process.Kill() }, -1},
		"the worker": {func(b *secretBuild) error { return syscall.Kill(worker(b.t, b.cmd.Process.Pid), syscall.SIGKILL) }, 125},
	} {
		t.Run(name, func(t *testing.T) {
			b := newSecretBuild(t, `printf "%s" "$SECRET" >/dev/shm/s; sleep MARK`)
			b.begin()
			b.processes()
			b.nowhere("while the command runs")
			if err := test.kill(b); err != nil {
				t.Fatal(err)
			}
			b.end(test.status)
			waitFor(t, goneWithin, "the command is gone", func() string { return gone(sleeping(t, b.mark)) })
			b.nowhere("at once")
			b.run(oakum, "build", "-t", "after", b.context("after", "FROM busybox\nRUN echo again > /again\n"))
			b.nowhere("after another build")
		})
	}
}

func gone(pids []int) string {
	if len(pids) == 0 {
		return ""
	}
	return fmt.Sprintf("processes %d", pids)
}

// worker is the process that builds for another.
func worker(t *testing.T, of int) int {
	t.Helper()
	for _, p := range descendants(t, of) {
		if args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.pid)); p.parent == of && bytes.HasPrefix(args, []byte("oakum-worker\x00")) {
			return p.pid
		}
	}
	t.Fatal("there is no worker")
	return 0
}
