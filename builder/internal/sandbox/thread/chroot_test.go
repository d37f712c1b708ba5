//go:build linux && (amd64 || arm64)

package thread

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/passwd"
	"github.com/oakum-build/oakum/builder/internal/sandbox"
)

// chrootPlace is a root file system with busybox, and a sandbox for it.
func chrootPlace(t *testing.T) (sandbox.Sandbox, string) {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "root")
	for _, name := range []string{"bin", "dev", "proc", "sys", "etc", "tmp", "run/secrets"} {
		if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("cp", "/bin/busybox", filepath.Join(root, "bin", "sh")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, name := range []string{"cat", "ls", "wc", "grep", "cut", "sleep", "setsid", "readlink"} {
		if err := os.Symlink("sh", filepath.Join(root, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	return NewChroot(filepath.Join(dir, "state")), root
}

// runChroot runs a shell's script and gives what it wrote.
func runChroot(t *testing.T, s sandbox.Sandbox, c sandbox.Command, script string) (string, int, error) {
	t.Helper()
	from, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	in, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	c.Process = sandbox.Process{Args: []string{"sh", "-c", script}, Env: []string{"PATH=/bin"}, Dir: "/", User: passwd.User{Groups: []int{0}}}
	c.Network, c.Stdio = sandbox.Network{Resolv: "nameserver 192.0.2.1\n"}, sandbox.Stdio{In: in, Out: to, Err: to}
	code, err := s.Run(t.Context(), c)
	to.Close()
	out, _ := io.ReadAll(from)
	return string(out), code, err
}

// A plain command runs, and sees its own root directory alone.
func TestChrootPlain(t *testing.T) {
	s, root := chrootPlace(t)
	got, code, err := runChroot(t, s, sandbox.Command{Root: sandbox.Root{Path: root}}, "echo /*; echo x >/dev/null; cat /etc/resolv.conf; exit 3")
	if code != 3 || err != nil || !strings.HasPrefix(got, "/bin /dev /etc /proc /run /sys /tmp\n") {
		t.Errorf("status %d, %v: %s", code, err, got)
	}
	if left, err := os.ReadDir(filepath.Join(root, "dev")); err != nil || len(left) > 0 {
		t.Errorf("left in /dev: %v, %v", left, err)
	}
}

// What a command asks about /proc is answered, and a secret is a file in memory.
func TestChrootProc(t *testing.T) {
	s, root := chrootPlace(t)
	fd, err := unix.MemfdCreate("secret", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	secret := os.NewFile(uintptr(fd), "secret")
	defer secret.Close()
	if _, err := secret.WriteString("hidden\n"); err != nil {
		t.Fatal(err)
	}
	if err := secret.Chmod(0o400); err != nil {
		t.Fatal(err)
	}
	c := sandbox.Command{Root: sandbox.Root{Path: root}, Mounts: []sandbox.Mount{{Kind: sandbox.MemoryFile, Target: "/run/secrets/token", Memory: secret}}}
	for script, want := range map[string]string{
		"readlink /proc/self/exe; head -n 1 /proc/self/status; echo x >/dev/stdout": "/bin/sh\nName:\thead\nx\n",
		"cat /run/secrets/token; ls -l /run/secrets/token | cut -c 1-10":            "hidden\n-r--------\n",
		"cat /proc/kcore 2>&1 | wc -l; ls /proc | grep -c -x 1":                     "1\n0\n",
	} {
		if got, _, err := runChroot(t, s, c, script); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", script, got, err, want)
		}
	}
	for _, name := range []string{"proc", "run/secrets"} {
		if left, err := os.ReadDir(filepath.Join(root, name)); err == nil && len(left) > 0 {
			t.Errorf("left in %s: %v", name, left)
		}
	}
	// A command that cannot be started is told of as ever.
	var start *sandbox.StartError
	if _, _, err := runChroot(t, s, c, ""); err != nil {
		t.Error(err)
	}
	if err := os.Remove(filepath.Join(root, "bin", "sh")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := runChroot(t, s, c, ""); !errors.As(err, &start) || start.Code != 127 {
		t.Errorf("a program that is not there: %v", err)
	}
}
