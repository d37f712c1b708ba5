//go:build linux

package sandboxtest

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/sandbox"
)

// networkNamespace makes a network namespace with nothing but loopback in it, and a socket by an
// abstract name, both of which go with the test.
func networkNamespace(t testing.TB, abstract string) *os.File {
	t.Helper()
	done := make(chan error)
	var file *os.File
	var socket net.Listener
	go func() {
		runtime.LockOSThread() // for ever
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			file, err = os.Open("/proc/thread-self/ns/net")
		}
		if err == nil {
			socket, err = net.Listen("unix", "@"+abstract)
		}
		done <- err
	}()
	ok(t, <-done)
	t.Cleanup(func() { file.Close(); socket.Close() })
	return file
}

// testNetworkNamespace: a command is in the network namespace that it is given, sees that one's
// devices in /sys, and reaches nothing that listens outside of it, be it on loopback or by an abstract
// socket. Another command can have it afterwards, and one that is given none has the machine's.
func testNetworkNamespace(t *testing.T, p *place, i sandbox.Isolation) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	defer tcp.Close()
	go func() {
		for conn, err := tcp.Accept(); err == nil; conn, err = tcp.Accept() {
			conn.Close()
		}
	}()
	_, port, err := net.SplitHostPort(tcp.Addr().String())
	ok(t, err)
	name := fmt.Sprintf("oakum-sandbox-net-%d", time.Now().UnixNano())
	abstract, err := net.Listen("unix", "@"+name)
	ok(t, err)
	defer abstract.Close()

	ns := networkNamespace(t, name+"-inside")
	var st unix.Stat_t
	ok(t, unix.Fstat(int(ns.Fd()), &st))
	inside := "ok" // that of another command, where two have the namespace
	if i.Scoped {
		inside = "EPERM"
	}
	script := fmt.Sprintf(`busybox readlink /proc/self/ns/net; busybox ls /sys/class/net; [ -e /sys/fs/cgroup ] && echo cgroups
busybox nc -w 60 127.0.0.1 %s </dev/null 2>/dev/null && echo reached
probe abstract connect %s; probe abstract connect %[2]s-inside; probe abstract listen %[2]s
busybox awk '$5 ~ "^/sys(/fs/cgroup.*)?$" && $6 !~ "^ro,nosuid,nodev,noexec" { print "not closed:", $0 }' /proc/self/mountinfo`, port, name)
	for range 2 {
		c := p.command("/bin/sh", "-c", script)
		c.Network.Namespace = ns
		equal(t, "in the namespace", p.output(t, c), fmt.Sprintf("net:[%d]\nlo\ncgroups\nECONNREFUSED\n%s\nok\n", st.Ino, inside))
	}
	own, err := os.Readlink("/proc/self/ns/net")
	ok(t, err)
	out := p.sh(t, fmt.Sprintf("busybox readlink /proc/self/ns/net; busybox nc -w 60 127.0.0.1 %s </dev/null && echo reached", port))
	equal(t, "a command that is given none", out, own+"\nreached\n")
}
