package sshagent

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/oakum-build/oakum/builder/limits"
)

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// socketDir is a directory whose path is short enough for a socket.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent")
	ok(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// listener listens at a path of its own.
func listener(t *testing.T) (net.Listener, string) {
	t.Helper()
	path := filepath.Join(socketDir(t), "s")
	l, err := net.Listen("unix", path)
	ok(t, err)
	t.Cleanup(func() { l.Close() })
	return l, path
}

// dial connects to an agent.
func dial(t *testing.T, path string) (agent.ExtendedAgent, net.Conn) {
	t.Helper()
	conn, err := net.Dial("unix", path)
	ok(t, err)
	t.Cleanup(func() { conn.Close() })
	ok(t, conn.SetDeadline(time.Now().Add(2*time.Minute)))
	return agent.NewClient(conn), conn
}

// recorder is an agent that notes what it is asked.
type recorder struct {
	agent.ExtendedAgent
	mu    sync.Mutex
	asked []string
}

func (r *recorder) Extension(name string, contents []byte) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, name)
	return []byte{6}, nil
}

func newKey(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	ok(t, err)
	return key
}

// users serves the agent of a user with one key at a socket.
func users(t *testing.T) (*recorder, string) {
	t.Helper()
	r := &recorder{ExtendedAgent: agent.NewKeyring().(agent.ExtendedAgent)}
	ok(t, r.Add(agent.AddedKey{PrivateKey: newKey(t), Comment: "the user's"}))
	l, path := listener(t)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = agent.ServeAgent(r, conn)
			}()
		}
	}()
	return r, path
}

// write writes a key to a file.
func write(t *testing.T, name string, block *pem.Block) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	ok(t, os.WriteFile(path, pem.EncodeToMemory(block), 0o600))
	return path
}

// openSSH is a key in OpenSSH's form.
func openSSH(t *testing.T, name string, key any) string {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(key, "")
	ok(t, err)
	return write(t, name, block)
}

// served serves an agent and gives its socket.
func served(t *testing.T, a *Agent) string {
	t.Helper()
	l, path := listener(t)
	a.Serve(l)
	t.Cleanup(a.Close)
	return path
}

// A client lists and signs, with each key in each form that ssh-keygen and openssl write.
func TestKeys(t *testing.T) {
	t.Parallel()
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	ok(t, err)
	e, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ok(t, err)
	ec, err := x509.MarshalECPrivateKey(e)
	ok(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(newKey(t))
	ok(t, err)
	files := []string{
		openSSH(t, "id_ed25519", newKey(t)),
		openSSH(t, "id_rsa", r),
		write(t, "pem_ec", &pem.Block{Type: "EC PRIVATE KEY", Bytes: ec}),
		write(t, "pkcs8", &pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
	}
	a, err := OfKeys(files)
	ok(t, err)
	client, _ := dial(t, served(t, a))
	keys, err := client.List()
	ok(t, err)
	if len(keys) != len(files) {
		t.Fatalf("%d keys of %d files", len(keys), len(files))
	}
	for i, key := range keys {
		if key.Comment != filepath.Base(files[i]) {
			t.Errorf("key %d is called %q", i, key.Comment)
		}
		public, err := ssh.ParsePublicKey(key.Blob)
		ok(t, err)
		for _, flags := range []agent.SignatureFlags{0, agent.SignatureFlagRsaSha256, agent.SignatureFlagRsaSha512} {
			if flags != 0 && key.Type() != ssh.KeyAlgoRSA {
				continue
			}
			signature, err := client.SignWithFlags(key, []byte("data"), flags)
			ok(t, err)
			ok(t, public.Verify([]byte("data"), signature))
		}
	}
	if _, err := client.Sign(&agent.Key{Blob: []byte("no key")}, []byte("data")); err == nil {
		t.Error("a key signed that is not there")
	}
}

// What a client may not do is refused, whatever serves: the keys stay, none is added, and nothing
// but what a server is bound by is passed on.
func TestRefuses(t *testing.T) {
	t.Parallel()
	user, socket := users(t)
	of, err := OfSocket(t.Context(), socket)
	ok(t, err)
	own, err := OfKeys([]string{openSSH(t, "k", newKey(t))})
	ok(t, err)
	for name, a := range map[string]*Agent{"socket": of, "keys": own} {
		client, conn := dial(t, served(t, a))
		keys, err := client.List()
		if err != nil || len(keys) != 1 {
			t.Fatalf("%s: %d keys, %v", name, len(keys), err)
		}
		if signature, err := client.Sign(keys[0], []byte("x")); err != nil || keys[0].Verify([]byte("x"), signature) != nil {
			t.Errorf("%s: it signs %v, %v", name, signature, err)
		}
		for what, err := range map[string]error{
			"add":        client.Add(agent.AddedKey{PrivateKey: newKey(t)}),
			"remove":     client.Remove(keys[0]),
			"remove all": client.RemoveAll(),
			"lock":       client.Lock([]byte("p")),
			"unlock":     client.Unlock([]byte("p")),
		} {
			if err == nil {
				t.Errorf("%s: %s is not refused", name, what)
			}
		}
		if _, err := client.Extension("other@example.com", nil); err == nil {
			t.Errorf("%s: any extension is passed on", name)
		}
		if _, err := client.Extension("session-bind@openssh.com", []byte("x")); (err == nil) != (name == "socket") {
			t.Errorf("%s: a session is bound: %v", name, err)
		}
		if keys, err = client.List(); err != nil || len(keys) != 1 {
			t.Errorf("%s: afterwards %d keys, %v", name, len(keys), err)
		}
		for _, garbage := range []string{"\x00\x00\x00\x00", "\xff\xff\xff\xff", "\x00\x00\x00\x02\x0d\x00"} {
			_, _ = conn.Write([]byte(garbage))
		}
		if again, _ := dial(t, conn.RemoteAddr().String()); true {
			if keys, err := again.List(); err != nil || len(keys) != 1 {
				t.Errorf("%s: after garbage %d keys, %v", name, len(keys), err)
			}
		}
	}
	user.mu.Lock()
	defer user.mu.Unlock()
	if strings.Join(user.asked, " ") != "session-bind@openssh.com" {
		t.Errorf("the user's agent was asked %q", user.asked)
	}
	if keys, err := user.List(); err != nil || len(keys) != 1 {
		t.Errorf("the user has %d keys, %v", len(keys), err)
	}
}

// Many clients are served at once, more than there are slots wait, and Close ends them all.
func TestManyAndClose(t *testing.T) {
	t.Parallel()
	_, socket := users(t)
	a, err := OfSocket(t.Context(), socket)
	ok(t, err)
	path := served(t, a)
	var wg sync.WaitGroup
	for range 3 * atOnce {
		wg.Go(func() {
			conn, err := net.Dial("unix", path)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			if keys, err := agent.NewClient(conn).List(); err != nil || len(keys) != 1 {
				t.Errorf("%d keys, %v", len(keys), err)
			}
		})
	}
	wg.Wait()
	_, idle := dial(t, path)
	for range 2 * atOnce {
		dial(t, path)
	}
	a.Close()
	if n, err := idle.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Errorf("after Close: read %d bytes, %v", n, err)
	}
	if conn, err := net.Dial("unix", path); err == nil {
		conn.Close()
		t.Error("after Close somebody listens")
	}
	late, _ := listener(t)
	a.Serve(late)
	if conn, err := late.Accept(); err == nil {
		conn.Close()
		t.Error("what comes too late is served")
	}
}

// What cannot be served is told before anything is.
func TestErrors(t *testing.T) {
	t.Parallel()
	locked, err := ssh.MarshalPrivateKeyWithPassphrase(newKey(t), "", []byte("secret"))
	ok(t, err)
	large := filepath.Join(t.TempDir(), "large")
	ok(t, os.WriteFile(large, bytes.Repeat([]byte("x"), maxKey+1), 0o600))
	text := filepath.Join(t.TempDir(), "text")
	ok(t, os.WriteFile(text, []byte("private, but no key"), 0o600))
	for file, want := range map[string]string{
		write(t, "locked", locked): "has a passphrase", large: "larger than", text: "no key found", "/no/such/key": "no such file",
	} {
		_, err := OfKeys([]string{file})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), file) || strings.Contains(err.Error(), "private, but") {
			t.Errorf("%s: %v, want %q", file, err, want)
		}
	}
	if _, err := OfKeys([]string{text}); !errors.Is(err, limits.ErrInvalid) {
		t.Errorf("%v is no invalid argument", err)
	}
	l, dead := listener(t)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	for _, socket := range []string{dead, "/no/such/socket", text} {
		if _, err := OfSocket(t.Context(), socket); err == nil || !strings.Contains(err.Error(), "no ssh agent answers at "+socket) {
			t.Errorf("%s: %v", socket, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := OfSocket(ctx, dead); err == nil {
		t.Error("after the end of the context it is dialled")
	}
}

// A hostile client cannot write to the program's log.
func TestSaysNothing(t *testing.T) {
	var out bytes.Buffer
	log.SetOutput(&out)
	defer log.SetOutput(os.Stderr)
	a, err := OfKeys([]string{openSSH(t, "k", newKey(t))})
	ok(t, err)
	client, _ := dial(t, served(t, a))
	_, _ = client.Sign(&agent.Key{Blob: []byte("x")}, nil)
	_ = client.Lock(nil)
	_ = client.RemoveAll()
	if out.Len() > 0 {
		t.Errorf("the log says %q", out.String())
	}
}

// FuzzTalk gives an agent whatever a client may send.
func FuzzTalk(f *testing.F) {
	for _, seed := range []string{
		"\x00\x00\x00\x01\x0b", "\x00\x00\x00\x01\x13", "\x00\x00\x00\x0d\x0d\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		"\x00\x00\x00\x05\x1b\xff\xff\xff\xff", "\x00\x00\x00\x00", "\x00\x04\x00\x01x", "\x00\x00\x00\x02\x0b",
	} {
		f.Add([]byte(seed))
	}
	a := newAgent()
	a.ring = agent.NewKeyring().(agent.ExtendedAgent)
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err == nil {
		err = a.ring.Add(agent.AddedKey{PrivateKey: key})
	}
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		client, server := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer server.Close()
			a.talk(server)
		}()
		go func() {
			_, _ = client.Write(data)
			client.Close()
		}()
		buf := make([]byte, 4096)
		for {
			if _, err := client.Read(buf); err != nil {
				break
			}
		}
		<-done
		if keys, err := a.ring.List(); err != nil || len(keys) != 1 {
			t.Errorf("%d keys are left, %v", len(keys), err)
		}
	})
}
