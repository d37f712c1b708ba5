//go:build linux

package builder_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/isolation"
	"github.com/oakum-build/oakum/builder/mount"
)

// hostPrograms copies programs of this machine into a stage, with the libraries that they need.
func hostPrograms(t *testing.T, s *builder.Stage, programs ...string) {
	t.Helper()
	files := map[string]bool{}
	for _, program := range programs {
		path, err := exec.LookPath(program)
		ok(t, err)
		out, err := exec.Command("ldd", path).Output()
		ok(t, err)
		files[path] = true
		for field := range strings.FieldsSeq(string(out)) {
			if filepath.IsAbs(field) {
				files[field] = true
			}
		}
	}
	for file := range files {
		ok(t, errOf(s.Copy(t.Context(), file, builder.Dir("/").Select(file[1:]))))
	}
}

// sshKey makes a key and writes it to a file.
func sshKey(t *testing.T, name string) (file string, key ed25519.PrivateKey) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	ok(t, err)
	block, err := ssh.MarshalPrivateKey(key, "")
	ok(t, err)
	file = filepath.Join(t.TempDir(), name)
	ok(t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
	return file, key
}

// userAgent is an agent with a key, as a user has one.
func userAgent(t *testing.T, key ed25519.PrivateKey) (socket string, keys agent.Agent) {
	t.Helper()
	keys = agent.NewKeyring()
	ok(t, keys.Add(agent.AddedKey{PrivateKey: key, Comment: "of the user"}))
	dir, err := os.MkdirTemp("", "agent")
	ok(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	ok(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = agent.ServeAgent(keys, conn)
			}()
		}
	}()
	return l.Addr().String(), keys
}

// agentBase is a stage with OpenSSH's programs.
func agentBase(t *testing.T, b *builder.Builder) *builder.Stage {
	t.Helper()
	s := base(t, b)
	hostPrograms(t, s, "ssh-add", "ssh-keygen", "ssh")
	return s
}

// OpenSSH's programs list the keys of an agent in a command and sign by them, whatever network it
// has, and can do nothing else.
func TestAgent(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := agentBase(t, b)
	file, key := sshKey(t, "id_of_file")
	socket, keys := userAgent(t, key)
	public, err := ssh.NewPublicKey(key.Public())
	ok(t, err)
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public)))
	sum := ssh.FingerprintSHA256(public)
	script := fmt.Sprintf(`
		echo "$SSH_AUTH_SOCK"; stat -c '%%F %%a %%u:%%g' $SSH_AUTH_SOCK
		ssh-add -l
		echo '%s' >/tmp/key.pub; echo 'u %s' >/tmp/allowed
		echo text | ssh-keygen -q -Y sign -f /tmp/key.pub -n file >/tmp/sig 2>/dev/null
		echo text | ssh-keygen -q -Y verify -f /tmp/allowed -I u -n file -s /tmp/sig && echo verified
		ssh-add -D >/dev/null 2>&1 || echo kept
		ssh-add -x </dev/null >/dev/null 2>&1 || echo unlocked
		chmod 777 $SSH_AUTH_SOCK 2>/dev/null || echo fixed
		for i in 1 2 3 4 5 6 7 8; do ssh-add -l >/dev/null || echo failed & done; wait`, line, line)
	for name, test := range map[string]struct {
		ssh     mount.SSH
		comment string
	}{
		"socket": {mount.SSH{Socket: socket}, "of the user"},
		"keys":   {mount.SSH{Keys: []string{file}}, "id_of_file"},
	} {
		all := []isolation.Options{
			{Sandbox: isolation.Thread, Network: isolation.Network{Mode: isolation.Host}},
			{Sandbox: isolation.Thread, Network: isolation.Network{Mode: isolation.None}},
			{Sandbox: isolation.OCI, Network: isolation.Network{Mode: isolation.None}},
			{}, // the machine's private network, where it can give one
		}
		if inChroot {
			all = []isolation.Options{{}}
		}
		for _, options := range all {
			f, err := s.Fork(t.Context(), builder.StageOptions{NoCache: true}) // which agent it is does not count
			ok(t, err)
			defer f.Close()
			var out bytes.Buffer
			_, err = f.Run(t.Context(), builder.Cmd{
				Args: []string{"/bin/sh", "-c", script}, Mounts: []builder.Mount{{SSH: &test.ssh}}, Stdout: &out, Stderr: &out,
				Isolation: options,
			})
			ok(t, err)
			want := fmt.Sprintf("/run/buildkit/ssh_agent.0\nsocket 600 0:0\n256 %s %s (ED25519)\nverified\nkept\nunlocked\nfixed\n", sum, test.comment)
			if inChroot { // it is in a directory of the command's own
				want = strings.TrimSuffix(want, "fixed\n")
			}
			if out.String() != want {
				t.Errorf("%s, %+v:\n%s, want\n%s", name, options, out.String(), want)
			}
			// Nothing of it is left.
			equal(t, sh(t, f, "ls -d /run /run/buildkit 2>/dev/null; env | grep SSH; true"), "")
		}
	}
	if left, err := keys.List(); err != nil || len(left) != 1 {
		t.Errorf("the user's agent has %d keys, %v", len(left), err)
	}
}

// Several agents have places of their own; the variable names the first. Owner and mode are the
// mount's.
func TestAgents(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := agentBase(t, b)
	one, _ := sshKey(t, "one")
	two, _ := sshKey(t, "two")
	three, _ := sshKey(t, "three")
	var out bytes.Buffer
	ok(t, errOf(s.Run(t.Context(), builder.Cmd{
		User: "app", Env: []string{"SSH_AUTH_SOCK=/other"}, Stdout: &out, Stderr: &out,
		Args: []string{"/bin/sh", "-c", "for a in $SSH_AUTH_SOCK sock /run/buildkit/ssh_agent.2; do stat -c '%n %a %u:%g' $a; SSH_AUTH_SOCK=$a ssh-add -l 2>&1 | sed 's/.*SHA256:[^ ]* //'; done"},
		Dir:  "/home/app",
		Mounts: []builder.Mount{
			{SSH: &mount.SSH{Keys: []string{one, two}, UID: 1000}},
			{Target: "sock", SSH: &mount.SSH{Keys: []string{three}, GID: 1001, Mode: 0o666}},
			{SSH: &mount.SSH{Keys: []string{three}}},
		},
	})))
	equal(t, out.String(), `/run/buildkit/ssh_agent.0 600 1000:0
one (ED25519)
two (ED25519)
sock 666 0:1001
three (ED25519)
/run/buildkit/ssh_agent.2 600 0:0
Error connecting to agent: Permission denied
`)
}

// The real ssh logs in by a forwarded agent, which so binds the key to the server.
func TestAgentLogsIn(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := agentBase(t, b)
	_, key := sshKey(t, "user")
	socket, _ := userAgent(t, key)
	public, err := ssh.NewPublicKey(key.Public())
	ok(t, err)
	port := greeter(t, public)
	var out bytes.Buffer
	ok(t, errOf(s.Run(t.Context(), builder.Cmd{
		Args:   []string{"/bin/sh", "-c", "ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -p " + port + " git@127.0.0.1 greet"},
		Mounts: []builder.Mount{{SSH: &mount.SSH{Socket: socket}}}, Stdout: &out, Stderr: &out,
		Isolation: isolation.Options{Network: isolation.Network{Mode: isolation.Host}},
	})))
	equal(t, out.String(), "hello\n")
}

// greeter is an ssh server that says hello to who has a key, and gives its port.
func greeter(t *testing.T, allowed ssh.PublicKey) string {
	t.Helper()
	_, host := sshKey(t, "host")
	signer, err := ssh.NewSignerFromKey(host)
	ok(t, err)
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if !bytes.Equal(key.Marshal(), allowed.Marshal()) {
			return nil, os.ErrPermission
		}
		return &ssh.Permissions{}, nil
	}}
	config.AddHostKey(signer)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go greet(conn, config)
		}
	}()
	_, port, err := net.SplitHostPort(l.Addr().String())
	ok(t, err)
	return port
}

func greet(conn net.Conn, config *ssh.ServerConfig) {
	defer conn.Close()
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for c := range channels {
		channel, requests, err := c.Accept()
		if err != nil {
			return
		}
		for r := range requests {
			_ = r.Reply(true, nil)
			if r.Type == "exec" {
				_, _ = channel.Write([]byte("hello\n"))
				_, _ = channel.SendRequest("exit-status", false, make([]byte, 4))
				channel.Close()
			}
		}
	}
}

// An agent that is not there is told before the command is run; one that goes away fails who asks.
// A command that has ended has no connections left.
func TestAgentErrors(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := agentBase(t, b)
	text := filepath.Join(t.TempDir(), "text")
	ok(t, os.WriteFile(text, []byte("no key"), 0o600))
	for _, test := range []struct {
		ssh  mount.SSH
		want string
	}{
		{mount.SSH{Socket: "/no/such"}, "no ssh agent answers at /no/such"},
		{mount.SSH{Keys: []string{text}}, "ssh key " + text},
		{mount.SSH{}, "the Socket of an agent or Keys"},
		{mount.SSH{Socket: "/s", Keys: []string{text}}, "not both"},
	} {
		_, err := s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/sh", "-c", "echo >/ran"}, Mounts: []builder.Mount{{SSH: &test.ssh}}})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v", test.ssh, err)
		}
	}
	equal(t, sh(t, s, "ls -d /ran /run 2>/dev/null; true"), "")

	_, key := sshKey(t, "k")
	socket, _ := userAgent(t, key)
	ctx, cancel := context.WithCancel(t.Context())
	began := make(chan struct{})
	go func() {
		<-began
		cancel()
	}()
	start := time.Now()
	_, err := s.Run(ctx, builder.Cmd{
		Args:   []string{"/bin/sh", "-c", "ssh-add -l; (sleep 100 | nc local:$SSH_AUTH_SOCK) & sleep 100"},
		Mounts: []builder.Mount{{SSH: &mount.SSH{Socket: socket}}}, Stdout: writerFunc(func([]byte) { close(began) }),
	})
	is(t, err, context.Canceled)
	if took := time.Since(start); took > time.Minute {
		t.Errorf("cancelling took %v", took)
	}
}
