//go:build linux

package gitrepo

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"
)

func newKey(t *testing.T) (ed25519.PrivateKey, ssh.Signer) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return key, signer
}

// listen serves each connection of a listener until the test ends.
func listen(t *testing.T, network, address string, serve func(net.Conn)) net.Addr {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	return l.Addr()
}

// sshServer lets one key in and gives repositories. It is known by the key host.
func sshServer(t *testing.T, host ssh.Signer, allowed ssh.PublicKey) net.Addr {
	t.Helper()
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != string(allowed.Marshal()) {
			return nil, errors.New("not this key")
		}
		return nil, nil
	}}
	config.AddHostKey(host)
	return listen(t, "tcp", "127.0.0.1:0", func(conn net.Conn) {
		defer conn.Close()
		_, channels, requests, err := ssh.NewServerConn(conn, config)
		if err != nil {
			return
		}
		go ssh.DiscardRequests(requests)
		for c := range channels {
			if channel, requests, err := c.Accept(); err == nil {
				go uploadPack(channel, requests)
			}
		}
	})
}

// uploadPack does what git asks of a server to fetch.
func uploadPack(channel ssh.Channel, requests <-chan *ssh.Request) {
	defer channel.Close()
	for r := range requests {
		var exe struct{ Command string }
		if r.Type != "exec" || ssh.Unmarshal(r.Payload, &exe) != nil || !strings.HasPrefix(exe.Command, "git-upload-pack ") {
			_ = r.Reply(r.Type == "env", nil)
			continue
		}
		_ = r.Reply(true, nil)
		cmd := exec.Command("sh", "-c", exe.Command)
		in, err := cmd.StdinPipe()
		if err != nil {
			return
		}
		cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
		go func() { _, _ = io.Copy(in, channel); in.Close() }()
		status := struct{ Status uint32 }{}
		if cmd.Run() != nil {
			status.Status = 1
		}
		_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(status))
		return
	}
}

// A real ssh and an agent get in by the agent's key, and by no other; a server that is
// not known is refused.
func TestSSH(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("SSH_AUTH_SOCK", "")
	r := newRepos(t)
	r.commit("r", map[string]string{"f": "1"})
	_, host := newKey(t)
	key, user := newKey(t)
	address := sshServer(t, host, user.PublicKey())
	_, port, _ := net.SplitHostPort(address.String())
	keys := agent.NewKeyring()
	if err := keys.Add(agent.AddedKey{PrivateKey: key}); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(home, "agent")
	listen(t, "unix", socket, func(conn net.Conn) {
		defer conn.Close()
		_ = agent.ServeAgent(keys, conn)
	})

	ref, err := Parse(fmt.Sprintf("ssh://git@%s%s/r", address, r.dir))
	if err != nil {
		t.Fatal(err)
	}
	_, err = ref.Resolve(t.Context())
	if err == nil || !strings.Contains(err.Error(), "ssh-keyscan -p "+port+" 127.0.0.1 >>") {
		t.Errorf("a server that is not known: %v", err)
	}
	known := knownhosts.Line([]string{address.String()}, host.PublicKey()) + "\n"
	if err := errors.Join(os.Mkdir(filepath.Join(home, ".ssh"), 0o700), os.WriteFile(filepath.Join(home, ".ssh/known_hosts"), []byte(known), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := ref.Resolve(t.Context()); err == nil || !strings.Contains(err.Error(), "Permission denied") {
		t.Errorf("without an agent: %v", err)
	}
	ref.Agent = socket
	found, err := ref.Resolve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := ref.Checkout(t.Context(), found, false, t.TempDir(), dir); err != nil || list(t, dir)["f"] != "1" {
		t.Errorf("got %v, %v", list(t, dir), err)
	}
}
