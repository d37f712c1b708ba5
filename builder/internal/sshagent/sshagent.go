// Package sshagent serves an ssh agent to a command that is not trusted: what it asks to be listed
// and signed is, and nothing else is passed on, so that it cannot take keys away, add some of
// its own, or lock the agent of who builds.
package sshagent

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/oakum-build/oakum/builder/limits"
)

// Messages of the agent's protocol (draft-ietf-sshm-ssh-agent, "Protocol Messages").
const (
	failure           = 5
	requestIdentities = 11
	identitiesAnswer  = 12
	signRequest       = 13
	extension         = 27
)

const (
	// longest is how long a message may be, as for OpenSSH's agent.
	longest = 256 << 10
	// atOnce is how many connections are served at once; others wait.
	atOnce = 64
	// maxKey bounds a file of a key, in bytes.
	maxKey = 64 << 10
)

// Agent is one that can be served.
type Agent struct {
	socket string
	ring   agent.ExtendedAgent // when there is no socket

	mu     sync.Mutex
	closed bool
	conns  map[io.Closer]bool
	served sync.WaitGroup
}

// OfSocket is the agent that listens on a socket. It is an error when none does now.
func OfSocket(ctx context.Context, socket string) (*Agent, error) {
	a := newAgent()
	a.socket = socket
	conn, err := a.dial(ctx)
	if err != nil {
		return nil, err
	}
	return a, conn.Close()
}

// OfKeys is an agent of its own that has the private keys in files, in OpenSSH's form or PEM.
func OfKeys(files []string) (*Agent, error) {
	a := newAgent()
	a.ring = agent.NewKeyring().(agent.ExtendedAgent)
	for _, file := range files {
		key, err := readKey(file)
		if err != nil {
			return nil, err
		}
		if err := a.ring.Add(agent.AddedKey{PrivateKey: key, Comment: filepath.Base(file)}); err != nil {
			return nil, fmt.Errorf("ssh key %s: %w", file, err)
		}
	}
	return a, nil
}

func newAgent() *Agent { return &Agent{conns: map[io.Closer]bool{}} }

func readKey(file string) (any, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("ssh key: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKey+1))
	defer clear(text)
	if err != nil {
		return nil, fmt.Errorf("ssh key: %w", err)
	}
	if len(text) > maxKey {
		return nil, &limits.LimitError{Name: "ssh key " + file, Limit: maxKey, Unit: "bytes"}
	}
	key, err := ssh.ParseRawPrivateKey(text)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		return nil, fmt.Errorf("%w: ssh key %s has a passphrase, which nobody is asked for here: add it to an agent by ssh-add, and name the agent's socket", limits.ErrInvalid, file)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: ssh key %s: %w", limits.ErrInvalid, file, err)
	}
	return key, nil
}

func (a *Agent) dial(ctx context.Context) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", a.socket)
	if err != nil {
		return nil, fmt.Errorf("no ssh agent answers at %s: %w; start one, add a key to it by ssh-add, and name its socket", a.socket, err)
	}
	return conn, nil
}

// Serve serves who connects to a listener, in the background, until Close.
func (a *Agent) Serve(l net.Listener) {
	if !a.keep(l) {
		return
	}
	go func() {
		defer a.forget(l)
		slots := make(chan struct{}, atOnce)
		for {
			slots <- struct{}{}
			conn, err := l.Accept()
			if err != nil || !a.keep(conn) {
				return
			}
			go func() {
				defer func() { <-slots }()
				defer a.forget(conn)
				a.talk(conn)
			}()
		}
	}()
}

// keep notes what Close is to close; false is that it is too late, and is closed.
func (a *Agent) keep(c io.Closer) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		_ = c.Close()
		return false
	}
	a.conns[c] = true
	a.served.Add(1)
	return true
}

func (a *Agent) forget(c io.Closer) {
	_ = c.Close()
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.conns, c)
	a.served.Done()
}

// Close ends all connections and waits until nothing is served any more.
func (a *Agent) Close() {
	a.mu.Lock()
	a.closed = true
	for c := range a.conns {
		_ = c.Close()
	}
	a.mu.Unlock()
	a.served.Wait()
}

// talk answers one client until either side ends.
func (a *Agent) talk(client net.Conn) {
	ask := a.ask
	if a.socket != "" {
		upstream, err := a.dial(context.Background())
		if err != nil || !a.keep(upstream) {
			return
		}
		defer a.forget(upstream)
		ask = func(message []byte) ([]byte, error) {
			if err := send(upstream, message); err != nil {
				return nil, err
			}
			return receive(upstream)
		}
	}
	for {
		message, err := receive(client)
		if err != nil {
			return
		}
		reply := []byte{failure}
		if a.passes(message) {
			if reply, err = ask(message); err != nil {
				return
			}
		}
		if send(client, reply) != nil {
			return
		}
	}
}

// passes says whether a message is one that a client of an agent needs. OpenSSH's ssh tells an
// agent with it for which server it is to sign, where a key is restricted to some.
func (a *Agent) passes(message []byte) bool {
	switch message[0] {
	case requestIdentities:
		return len(message) == 1
	case signRequest:
		return true
	case extension:
		var e struct {
			Name string `sshtype:"27"`
			Rest []byte `ssh:"rest"`
		}
		return a.socket != "" && ssh.Unmarshal(message, &e) == nil && e.Name == "session-bind@openssh.com"
	}
	return false
}

// ask is the answer of an agent of our own. agent.ServeAgent would give the same, but writes to
// the program's log whatever a client asks in vain.
func (a *Agent) ask(message []byte) ([]byte, error) {
	if message[0] == requestIdentities {
		return a.list()
	}
	var q struct {
		Key   []byte `sshtype:"13"`
		Data  []byte
		Flags uint32
	}
	if err := ssh.Unmarshal(message, &q); err != nil {
		return []byte{failure}, nil
	}
	signature, err := a.ring.SignWithFlags(&agent.Key{Blob: q.Key}, q.Data, agent.SignatureFlags(q.Flags))
	if err != nil {
		return []byte{failure}, nil
	}
	return ssh.Marshal(struct {
		Signature []byte `sshtype:"14"`
	}{ssh.Marshal(signature)}), nil
}

func (a *Agent) list() ([]byte, error) {
	keys, err := a.ring.List()
	if err != nil {
		return nil, err
	}
	answer := append([]byte{identitiesAnswer}, binary.BigEndian.AppendUint32(nil, uint32(len(keys)))...)
	for _, key := range keys {
		answer = append(answer, ssh.Marshal(struct {
			Blob    []byte
			Comment string
		}{key.Blob, key.Comment})...)
	}
	return answer, nil
}

// receive reads a message, which is never empty.
func receive(conn net.Conn) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return nil, err
	}
	length := binary.BigEndian.Uint32(head[:])
	if length == 0 || length > longest {
		return nil, fmt.Errorf("a message of %d bytes", length)
	}
	message := make([]byte, length)
	_, err := io.ReadFull(conn, message)
	return message, err
}

func send(conn net.Conn, message []byte) error {
	_, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(message))), message...))
	return err
}
