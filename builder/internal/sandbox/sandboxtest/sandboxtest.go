//go:build linux

// Package sandboxtest is the suite that every sandbox passes: it runs a program in it that
// looks at its surroundings and tries what it must not, and holds what that finds against
// the contract, against Docker's profile, and against what the sandbox says of itself.
//
// The tests of an implementation call Main in TestMain, Test in a test of their own, and,
// to hold an implementation against another one, Reports and Compare.
package sandboxtest

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/mountpoint"
	"github.com/oakum-build/oakum/builder/internal/passwd"
	"github.com/oakum-build/oakum/builder/internal/sandbox"
)

// New makes the sandbox under test, which keeps its own files in dir.
type New func(dir string) sandbox.Sandbox

// insideEnv is set in the process that runs the tests, and in those that it starts.
const insideEnv = "OAKUM_SANDBOX_TEST"

// Main runs the tests where a worker would be: as root of a user namespace for an ordinary
// user, and in mount and PID namespaces of its own for anybody. There, all files of the machine are
// read-only but those in the directory for temporary ones, whatever a sandbox that is broken does. It gives the
// exit status.
func Main(m *testing.M) int {
	if os.Getenv(insideEnv) != "" {
		if err := protect(); err != nil {
			return failed(err)
		}
		return m.Run()
	}
	exe, err := os.Executable()
	if err != nil {
		return failed(err)
	}
	args := []string{"--mount", "--pid", "--fork", "--kill-child", "--mount-proc"}
	if os.Geteuid() != 0 {
		args = append(args, "--map-auto", "--map-root-user", "--setuid=0", "--setgid=0")
	}
	// A sandbox must not hand on what this process ignores, as under nohup.
	args = append(args, "sh", "-c", `trap "" HUP USR1; exec "$@"`, "sh", exe)
	cmd := exec.Command("unshare", append(args, os.Args[1:]...)...)
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		return failed(err)
	}
	return 0
}

// protect makes the mounts of this process read-only, but for what the kernel shows and the tests use. In a
// process that was started by one of the tests' own they are.
func protect() error {
	var root unix.Statfs_t
	if err := unix.Statfs("/", &root); err != nil {
		return &os.PathError{Op: "statfs", Path: "/", Err: err}
	}
	if root.Flags&unix.ST_RDONLY != 0 {
		return nil
	}
	temporary, err := filepath.EvalSymlinks(os.TempDir())
	if err != nil {
		return err
	}
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	readOnly := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	for line := range strings.Lines(string(info)) {
		point := strings.Fields(line)[4]
		if point == "/proc" || strings.HasPrefix(point, "/proc/") || strings.HasPrefix(point, "/sys/fs/cgroup") {
			continue
		}
		err := unix.MountSetattr(unix.AT_FDCWD, point, 0, &readOnly)
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EINVAL) { // what another mount hides
			return &os.PathError{Op: "mount_setattr", Path: point, Err: err}
		}
	}
	if err := unix.Mount(temporary, temporary, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return &os.PathError{Op: "mount", Path: temporary, Err: err}
	}
	if err := unix.MountSetattr(unix.AT_FDCWD, temporary, 0, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}); err != nil {
		return &os.PathError{Op: "mount_setattr", Path: temporary, Err: err}
	}
	const name = "/etc/oakum-sandbox-test"
	if err := os.WriteFile(name, nil, 0o600); !errors.Is(err, unix.EROFS) && !errors.Is(err, unix.EACCES) {
		os.Remove(name)
		return fmt.Errorf("a file of the machine could be made: %w", err)
	}
	return nil
}

func failed(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// place is where commands are run: a sandbox and a root file system with busybox and the
// probe.
type place struct {
	sandbox sandbox.Sandbox
	state   string // the sandbox's own directory
	root    string
}

const busybox = "/bin/busybox"

//go:embed testdata/probe.c
var probeSource []byte

// newPlace makes a place that goes with the test, on a tmpfs, as the worker's, where the sandbox can mount.
func newPlace(t testing.TB, make New) *place {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	ok(t, err)
	p := &place{state: filepath.Join(dir, "state"), root: filepath.Join(dir, "root")}
	p.sandbox = make(p.state)
	if !p.sandbox.Fills() {
		ok(t, unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NODEV, "mode=700"))
		t.Cleanup(func() { ok(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	}
	ok(t, os.Mkdir(p.state, 0o700))
	for _, name := range []string{"bin", "tmp", "etc"} {
		ok(t, os.MkdirAll(filepath.Join(p.root, name), 0o755))
	}
	ok(t, os.Chmod(filepath.Join(p.root, "tmp"), 0o1777))
	copyFile(t, probe(t), filepath.Join(p.root, "bin", "probe"))
	copyFile(t, busybox, filepath.Join(p.root, "bin", "busybox"))
	ok(t, os.Symlink("busybox", filepath.Join(p.root, "bin", "sh")))
	p.makePoints(t, sandbox.Command{})
	return p
}

// another is a place with the same sandbox, and a copy of the root file system.
func (p *place) another(t testing.TB, n int) *place {
	t.Helper()
	q := &place{sandbox: p.sandbox, state: p.state, root: fmt.Sprintf("%s-%d", p.root, n)}
	ok(t, os.CopyFS(q.root, os.DirFS(p.root)))
	return q
}

// sandboxed runs a command as a caller does, who prepares the root file system for a sandbox that fills it.
func (p *place) sandboxed(ctx context.Context, t testing.TB, c sandbox.Command) (int, error) {
	if !p.sandbox.Fills() {
		return p.sandbox.Run(ctx, c)
	}
	root, err := os.Open(c.Root.Path)
	if err != nil {
		return p.sandbox.Run(ctx, c)
	}
	defer root.Close()
	name, err := os.MkdirTemp(filepath.Dir(c.Root.Path), "aside-")
	ok(t, err)
	defer os.RemoveAll(name)
	aside, err := os.Open(name)
	ok(t, err)
	defer aside.Close()
	points := mountpoint.Fill(root, nil, aside, p.sandbox.MountPoints(c))
	ok(t, points.Err())
	code, err := p.sandbox.Run(ctx, c)
	ok(t, points.Remove())
	return code, err
}

// makePoints makes the mount points of a command.
func (p *place) makePoints(t testing.TB, c sandbox.Command) {
	t.Helper()
	for _, point := range p.sandbox.MountPoints(c) {
		name := filepath.Join(p.root, point)
		if exists(name) {
			continue
		}
		ok(t, os.MkdirAll(filepath.Dir(name), 0o755))
		if strings.HasSuffix(point, "/") {
			ok(t, os.Mkdir(name, 0o755))
		} else {
			ok(t, os.WriteFile(name, nil, 0o644))
		}
	}
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatalf("%v; hack/deps installs what the tests need", err)
	}
	ok(t, WriteProgram(to, data))
}

// WriteProgram writes a file that is executed afterwards. A process that is being started has all of this one's
// descriptors until it executes its program, and nothing is executed that is open for writing (execve(2), ETXTBSY).
func WriteProgram(name string, data []byte) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return os.WriteFile(name, data, 0o755)
}

// probe compiles the program that looks around, with the system calls that this machine's
// headers know.
func probe(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("gcc", "-E", "-dM", "-")
	cmd.Stdin = strings.NewReader("#include <asm/unistd.h>\n")
	macros, err := cmd.Output()
	ok(t, err)
	var calls bytes.Buffer
	callNumber := regexp.MustCompile(`(?m)^#define __NR_([a-z0-9_]+) ([0-9]+)$`)
	for _, m := range callNumber.FindAllSubmatch(macros, -1) {
		fmt.Fprintf(&calls, "{ \"%s\", %s },\n", m[1], m[2])
	}
	ok(t, os.WriteFile(filepath.Join(dir, "syscalls.h"), calls.Bytes(), 0o644))
	ok(t, os.WriteFile(filepath.Join(dir, "probe.c"), probeSource, 0o644))
	program := filepath.Join(dir, "probe")
	out, err := exec.Command("gcc", "-Wall", "-static", "-I", dir, "-o", program, filepath.Join(dir, "probe.c")).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	return program
}

var (
	root = passwd.User{Groups: []int{0}, Home: "/root"}
	// app is nobody in particular.
	app = passwd.User{UID: 1000, GID: 1001, Groups: []int{1001, 2000}, Home: "/"}
)

// command is one that root runs.
func (p *place) command(args ...string) sandbox.Command {
	return sandbox.Command{
		Process: sandbox.Process{Args: args, Env: []string{"PATH=/bin", "A=1", "HOME=/root"}, Dir: "/", User: root},
		Root:    sandbox.Root{Path: p.root},
		Network: sandbox.Network{Hosts: "127.0.0.1\tlocalhost\n", Resolv: "nameserver 192.0.2.1\n"},
	}
}

// run runs a command and gives what it wrote. One that hangs is ended.
func (p *place) run(ctx context.Context, t testing.TB, c sandbox.Command) (out string, code int, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	in, end, err := os.Pipe()
	ok(t, err)
	defer in.Close()
	ok(t, end.Close())
	from, to, err := os.Pipe()
	ok(t, err)
	defer from.Close()
	read := make(chan string)
	go func() {
		data, _ := io.ReadAll(from)
		read <- string(data)
	}()
	c.Stdio = sandbox.Stdio{In: in, Out: to, Err: to}
	code, err = p.sandboxed(ctx, t, c)
	ok(t, to.Close())
	return <-read, code, err
}

// output is what a command writes that must succeed.
func (p *place) output(t testing.TB, c sandbox.Command) string {
	t.Helper()
	out, code, err := p.run(t.Context(), t, c)
	if err != nil || code != 0 {
		t.Fatalf("%.200q: status %d, %v\n%s", c.Process.Args, code, err, out)
	}
	return out
}

// sh is what a script of root's writes.
func (p *place) sh(t testing.TB, script string) string {
	t.Helper()
	return p.output(t, p.command("/bin/sh", "-c", script))
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal(t testing.TB, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}
