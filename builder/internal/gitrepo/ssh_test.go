//go:build linux

package gitrepo

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sshServer starts a server that lets the key "key" of dir in, and whose own key is
// "host" there. It gives the port.
func sshServer(t *testing.T, dir string) string {
	t.Helper()
	sshd, err := exec.LookPath("/usr/sbin/sshd")
	if err != nil {
		t.Skip("openssh-server is not installed")
	}
	if os.Geteuid() == 0 { // it needs this directory then
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	l.Close()
	cmd := exec.Command(sshd, "-D", "-e", "-f", "/dev/null", "-p", port, "-h", filepath.Join(dir, "host"), "-o", "ListenAddress=127.0.0.1", "-o", "PidFile=none",
		"-o", "AuthorizedKeysFile="+filepath.Join(dir, "key.pub"), "-o", "StrictModes=no", "-o", "UsePAM=no", "-o", "PermitRootLogin=yes")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); _ = cmd.Wait() })
	for range 200 {
		if c, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			c.Close()
			return port
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("sshd does not answer")
	return ""
}

// A real server lets an agent's key in, and no other; one that is not known is refused.
func TestSSH(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("SSH_AUTH_SOCK", "")
	r := newRepos(t)
	r.commit("r", map[string]string{"f": "1"})
	agent := filepath.Join(home, "agent")
	run := func(name string, args ...string) {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Env = append(os.Environ(), "SSH_AUTH_SOCK="+agent)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
	}
	for _, key := range []string{"host", "key"} {
		run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(home, key))
	}
	port := sshServer(t, home)
	daemon := exec.Command("ssh-agent", "-D", "-a", agent)
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = daemon.Process.Kill(); _ = daemon.Wait() })
	for range 200 {
		if _, err := os.Stat(agent); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	run("ssh-add", "-q", filepath.Join(home, "key"))

	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	ref, err := Parse("ssh://" + me.Username + "@127.0.0.1:" + port + r.dir + "/r")
	if err != nil {
		t.Fatal(err)
	}
	_, err = ref.Resolve(t.Context())
	if err == nil || !strings.Contains(err.Error(), "ssh-keyscan -p "+port+" 127.0.0.1 >>") {
		t.Errorf("a server that is not known: %v", err)
	}
	public, err := os.ReadFile(filepath.Join(home, "host.pub"))
	known := fmt.Sprintf("[127.0.0.1]:%s %s", port, public)
	if err := errors.Join(err, os.Mkdir(filepath.Join(home, ".ssh"), 0o700), os.WriteFile(filepath.Join(home, ".ssh/known_hosts"), []byte(known), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := ref.Resolve(t.Context()); err == nil || !strings.Contains(err.Error(), "Permission denied") {
		t.Errorf("without an agent: %v", err)
	}
	ref.Agent = agent
	found, err := ref.Resolve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := ref.Checkout(t.Context(), found, false, t.TempDir(), dir); err != nil || list(t, dir)["f"] != "1" {
		t.Errorf("got %v, %v", list(t, dir), err)
	}
}
