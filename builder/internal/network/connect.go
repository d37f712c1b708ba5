//go:build linux

package network

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/passwd"
)

// What a namespace has, the same whatever connects it, so that no command's outcome depends on that:
// slirp4netns has no others. The machine's own addresses must not be among them, for then a command could
// not reach the machine by them. IPv6 is there where the machine has it, and pasta connects.
const (
	device   = "eth0"
	address4 = "10.0.2.100"
	prefix4  = "24"
	gateway4 = "10.0.2.2"
	address6 = "fd6f:616b:756d::100"
	gateway6 = "fd6f:616b:756d::2"
	mtu      = "65520"
)

// program is one that connects namespaces.
type program struct {
	name string
	args []string
	// forward are further arguments that have nameserver answered by the machine's own nameserver.
	forward []string
	ready   int  // the descriptor of its own on which it says that all is configured
	root    bool // it cannot be started as nobody
}

// programs are tried in this order. A pasta from before August 2024, as Debian 12's, loses the end of a
// connection when both sides end it at once, so it is the last: it does not know the first one's
// arguments, and ends.
var programs = []program{pasta("--map-host-loopback", "none"), slirp, pasta("--no-map-gw")}

// pasta is that program with the arguments by which nothing of the machine's loopback is found at the
// gateway.
func pasta(unmapped ...string) program {
	return program{name: "pasta", ready: 1, forward: []string{"--dns-forward", nameserver}, args: append(unmapped,
		"--foreground", "--quiet", "--config-net", "--netns", onStdin, "--netns-only", "--ns-ifname", device, "--mtu", mtu,
		"--address", address4, "--netmask", prefix4, "--gateway", gateway4, "--address", address6, "--gateway", gateway6,
		"--pid", "/proc/self/fd/1",
		// Nor is anything of it found at ports of the namespace's, or of that at ports of the machine's.
		"--tcp-ports", "none", "--udp-ports", "none", "--tcp-ns", "none", "--udp-ns", "none",
	)}
}

var slirp = program{name: "slirp4netns", ready: 3, root: true, args: []string{
	"--configure", "--mtu", mtu, "--disable-host-loopback", "--enable-sandbox", "--enable-seccomp",
	"--netns-type", "path", "--ready-fd", "3", onStdin, device,
}}

// onStdin is the path by which a program finds the namespace, which is its standard input: of other
// descriptors it may close those that it does not know.
const onStdin = "/proc/self/fd/0"

// nobody is the user and group as whom a program runs that can.
const nobody = 65534

// connection is a program that connects a namespace. It is in the worker's PID namespace, and ends
// with it.
type connection struct {
	process *os.Process
	ended   chan struct{} // closed when it has been waited for
}

// alive asks the kernel where it can: somebody waits for the program, but may not have been told yet that it has ended, or
// waits for what else has its standard error.
func (c *connection) alive() bool {
	select {
	case <-c.ended:
		return false
	default:
	}
	ended := false
	err := c.process.WithHandle(func(pidfd uintptr) { // which can be read from as soon as the process has ended
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 0)
		ended = err == nil && n > 0
	})
	return !ended && !errors.Is(err, os.ErrProcessDone)
}

func (c *connection) close() {
	_ = c.process.Kill()
	<-c.ended
}

// errEnded is that of a program that ends before it is ready, as at arguments that it does not know.
var errEnded = errors.New("it ended")

// connect connects a namespace. With forward, nameserver is there. It gives up after a while.
func (p program) connect(ns *namespace, forward bool, patience time.Duration) error {
	path, err := exec.LookPath(p.name)
	if err != nil {
		return fmt.Errorf("%s is not installed", p.name)
	}
	args := p.args
	if forward {
		args = slices.Concat(p.forward, args)
	}
	ready, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	defer theirs.Close()
	said := &firstWords{}
	cmd := exec.Command(path, args...)
	cmd.Env, cmd.Stdin, cmd.Stderr = []string{}, ns.file, said
	cmd.WaitDelay = 5 * time.Second // whatever else has its standard error
	if p.ready == 1 {
		cmd.Stdout = theirs
	} else {
		cmd.ExtraFiles = []*os.File{theirs}
	}
	if err := errors.Join(p.asNobody(cmd, theirs), ready.SetReadDeadline(time.Now().Add(patience))); err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s cannot be started: %w", p.name, err)
	}
	theirs.Close()
	link := &connection{process: cmd.Process, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(link.ended)
	}()
	switch _, err = ready.Read(make([]byte, 1)); {
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("it was not ready after %v", patience)
	case err != nil:
		err = errEnded
	default:
		err = filterDevice(cmd.Process.Pid)
	}
	if err != nil {
		link.close()
		return fmt.Errorf("%s does not work: %w%s", p.name, err, said)
	}
	ns.link = link
	return nil
}

// asNobody has a command started as nobody, with the rights to enter the namespace, to configure it and to
// shut itself in, which it drops then. It stays who we are where there is no such user, or nobody may
// execute it, since it is in a user's home.
func (p program) asNobody(cmd *exec.Cmd, ready *os.File) error {
	uids, gids, err := passwd.OwnIDs()
	if err != nil || p.root || !uids.Has(nobody) || !gids.Has(nobody) || !public(cmd.Path) {
		return err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: nobody, Gid: nobody},
		AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN},
	}
	return ready.Chown(nobody, nobody) // it opens it by its path
}

// public says whether everybody may execute a file.
func public(path string) bool {
	path, err := filepath.EvalSymlinks(path)
	for err == nil {
		var info os.FileInfo
		if info, err = os.Stat(path); err == nil && info.Mode()&1 == 0 {
			return false
		}
		if path == "/" {
			return err == nil
		}
		path = filepath.Dir(path)
	}
	return false
}

// firstWords are the first of a program's words, to be told in an error.
type firstWords struct{ bytes.Buffer }

// Write is that of io.Writer.
func (w *firstWords) Write(b []byte) (int, error) {
	w.Buffer.Write(b[:min(len(b), max(0, 1024-w.Len()))])
	return len(b), nil
}

func (w *firstWords) String() string {
	var lines []string
	for line := range strings.Lines(w.Buffer.String()) {
		if len(lines) == 2 {
			break // the rest may be how it is used
		}
		if line = strings.TrimSpace(line); line != "" && !strings.HasSuffix(line, "to syslog") {
			lines = append(lines, line)
		}
	}
	if lines == nil {
		return ""
	}
	return ": " + strings.Join(lines, "; ")
}
