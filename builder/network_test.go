//go:build linux

package builder_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/event"
	"github.com/oakum-build/oakum/builder/internal/sandbox/sandboxtest"
	"github.com/oakum-build/oakum/builder/isolation"
)

// on runs a script with a network, and gives its output.
func on(t testing.TB, s *builder.Stage, n isolation.Network, script string) string {
	t.Helper()
	return output(t, s, builder.Cmd{Args: []string{"/bin/sh", "-c", script}, Ephemeral: true, Isolation: isolation.Options{Network: n}})
}

// serve answers each connection to an address with a line, and gives the port.
func serve(t testing.TB, address string) string {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	ok(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
			fmt.Fprintln(conn, "served")
			conn.Close()
		}
	}()
	_, port, err := net.SplitHostPort(l.Addr().String())
	ok(t, err)
	return port
}

// outer is an address of the machine that is not loopback's.
func outer(t testing.TB) string {
	t.Helper()
	conn, err := net.Dial("udp", "192.0.2.1:9") // sends nothing
	ok(t, err)
	defer conn.Close()
	host, _, err := net.SplitHostPort(conn.LocalAddr().String())
	ok(t, err)
	return host
}

// A command reaches the machine's loopback on the machine's network alone, and the machine's outer address on
// a private one too. Without a network it reaches nothing but itself.
func TestNetworkModes(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	const try = "nc -w 60 %s %s </dev/null 2>/dev/null || echo no\n"
	script := fmt.Sprintf(strings.Repeat(try, 3)+"ls /sys/class/net | wc -l",
		"127.0.0.1", serve(t, "127.0.0.1"), "::1", serve(t, "::1"), outer(t), serve(t, outer(t)))
	devices, err := net.Interfaces()
	ok(t, err)
	for mode, want := range map[isolation.Mode]string{
		isolation.DefaultNetwork: "no\nno\nserved\n2\n", isolation.Private: "no\nno\nserved\n2\n", isolation.None: "no\nno\nno\n1\n",
		isolation.Host: fmt.Sprintf("served\nserved\nserved\n%d\n", len(devices)),
	} {
		t.Run(string(mode), func(t *testing.T) { equal(t, on(t, s, isolation.Network{Mode: mode}, script), want) })
	}
	_, err = s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/true"}, Isolation: isolation.Options{Network: isolation.Network{Mode: "bridge"}}})
	if !errors.Is(err, builder.ErrInvalid) {
		t.Errorf("an unknown network: %v", err)
	}
}

// Root of a command listens on low ports of its own network and may ping, as may others, whoever builds.
func TestLowPorts(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := probed(t, b)
	for _, mode := range []isolation.Mode{isolation.Private, isolation.None} {
		for _, user := range []string{"root", "1000"} {
			script := "httpd -p 127.0.0.1:80 -h /etc; wget -q -O - http://127.0.0.1/passwd >/dev/null && echo web; probe socket 2 2 1" // ICMP's
			cmd := builder.Cmd{Args: []string{"/bin/sh", "-c", script}, User: user, Ephemeral: true, Isolation: isolation.Options{Network: isolation.Network{Mode: mode}}}
			equal(t, output(t, s, cmd), "web\nok\n")
		}
	}
}

// What commands are told of hosts and nameservers.
func TestNetworkFiles(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	port := serve(t, outer(t))
	hosts := isolation.Network{Hosts: []string{"registry.example:192.0.2.7", "six:2001:db8::7", "machine:host-gateway"}}
	equal(t, on(t, s, hosts, "head -n 2 /etc/hosts; tail -n 1 /etc/hosts; nc -w 60 machine "+port+" </dev/null"), "192.0.2.7\tregistry.example\n2001:db8::7\tsix\n127.0.1.1\toakum\nserved\n")
	hosts.Mode = isolation.Host
	equal(t, on(t, s, hosts, "head -n 2 /etc/hosts; nc -w 60 machine "+serve(t, "127.0.0.1")+" </dev/null"), "192.0.2.7\tregistry.example\n2001:db8::7\tsix\nserved\n")
	dns := isolation.Network{DNS: []string{"192.0.2.53", "2001:db8::53"}, Search: []string{"a.example", "b.example"}, Options: []string{"ndots:3"}}
	const want = "search a.example b.example\nnameserver 192.0.2.53\nnameserver 2001:db8::53\noptions ndots:3\n"
	for _, dns.Mode = range []isolation.Mode{isolation.Private, isolation.Host, isolation.None} {
		equal(t, on(t, s, dns, "cat /etc/resolv.conf"), want)
	}
	run(t, s, "mkdir -p /etc && echo own >/etc/hosts") // not kept: it is the command's own file
	equal(t, on(t, s, isolation.Network{NoHosts: true}, "cat /etc/hosts || true"), "cat: can't open '/etc/hosts': No such file or directory\n")
	step, err := s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/sh", "-c", "echo image >/etc/hosts"}, Isolation: isolation.Options{Network: isolation.Network{NoHosts: true}}})
	if err != nil || step.Cached {
		t.Fatalf("%+v, %v", step, err)
	}
	equal(t, on(t, s, isolation.Network{NoHosts: true}, "cat /etc/hosts"), "image\n")
	for _, n := range []isolation.Network{{Hosts: []string{"a"}}, {DNS: []string{"a"}}, {NoHosts: true, Hosts: []string{"a:1.2.3.4"}}} {
		if _, err := s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/true"}, Isolation: isolation.Options{Network: n}}); !errors.Is(err, builder.ErrInvalid) {
			t.Errorf("%+v: %v", n, err)
		}
	}
}

// Where neither program works, a command that asks for nothing has the machine's network, which is told once; one
// that asks for a private network is not run.
func TestNoPrivateNetwork(t *testing.T) {
	bin := t.TempDir()
	for _, name := range []string{"pasta", "slirp4netns"} {
		ok(t, sandboxtest.WriteProgram(filepath.Join(bin, name), []byte("#!/bin/sh\necho out of order >&2\nexit 1\n")))
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	var warnings []string
	b := openIn(t, builder.Options{Root: tempDir(t), Events: func(e event.Event) {
		if e.Kind == event.Warning {
			warnings = append(warnings, e.Text)
		}
	}})
	s := base(t, b)
	port := serve(t, "127.0.0.1")
	for range 2 {
		equal(t, sh(t, s, "nc -w 60 127.0.0.1 "+port), "served\n")
	}
	_, err := s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/true"}, Isolation: isolation.Options{Network: isolation.Network{Mode: isolation.Private}}})
	var host *builder.HostError
	if !errors.As(err, &host) || !strings.Contains(host.Missing, "pasta does not work: it ended: out of order; slirp4netns does not work") || !strings.Contains(host.Fix, "install passt") {
		t.Errorf("got %v", err)
	}
	equal(t, on(t, s, isolation.Network{Mode: isolation.None}, "nc -w 60 127.0.0.1 "+port+" 2>/dev/null || echo none"), "none\n")
	ok(t, b.Close())
	if len(warnings) != 1 || !strings.HasPrefix(warnings[0], "commands have the machine's network, since they can have none of their own: pasta does not work") {
		t.Errorf("warnings: %q", warnings)
	}
}

// Once a command had a network of its own, the next is not run on the machine's because that can be had no
// more: a command could see to it.
func TestPrivateNetworkStays(t *testing.T) {
	real, err := exec.LookPath("slirp4netns")
	ok(t, err)
	bin, root := t.TempDir(), tempDir(t)
	ok(t, sandboxtest.WriteProgram(filepath.Join(bin, "pasta"), []byte("#!/bin/sh\nexit 1\n")))
	ok(t, os.Symlink(real, filepath.Join(bin, "slirp4netns")))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	b := openIn(t, builder.Options{Root: root})
	s := base(t, b)
	equal(t, sh(t, s, "ls /sys/class/net | wc -l"), "2\n")
	ok(t, os.Remove(filepath.Join(bin, "slirp4netns")))
	ok(t, sandboxtest.WriteProgram(filepath.Join(bin, "slirp4netns"), []byte("#!/bin/sh\nexit 1\n")))
	found := programsOf(t, root)
	kill(t, found)
	_, err = s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/true"}})
	var host *builder.HostError
	if !errors.As(err, &host) || !strings.Contains(host.Missing, "slirp4netns does not work") {
		t.Errorf("got %v", err)
	}
}

// programsOf are the programs that a worker, found by its store, has started, and their starts. A mere fork of the worker is
// none: containers/storage makes one for a moment, to try whether mounts can map ids.
func programsOf(t testing.TB, root string) map[int]string {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	ok(t, err)
	found := map[int]string{}
	for _, name := range stats {
		data, err := os.ReadFile(name)
		_, rest, cut := strings.Cut(string(data), ") ")
		if err != nil || !cut {
			continue
		}
		fields := strings.Fields(rest)
		parent := "/proc/" + fields[1]
		args, _ := os.ReadFile(parent + "/cmdline")
		mounts, _ := os.ReadFile(parent + "/mountinfo")
		own, err := os.ReadFile(filepath.Dir(name) + "/cmdline")
		if err != nil || len(own) == 0 {
			continue // it ends
		}
		if strings.HasPrefix(string(args), "oakum-worker\x00") && !bytes.Equal(own, args) && strings.Contains(string(mounts), " "+root+"/oakum/mnt ") {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			ok(t, err)
			found[pid] = fields[19]
		}
	}
	return found
}

// kill kills processes, of which some may have ended, and waits until they are gone.
func kill(t testing.TB, processes map[int]string) {
	t.Helper()
	for pid := range processes {
		if err := unix.Kill(pid, unix.SIGKILL); err != unix.ESRCH {
			ok(t, err)
		}
	}
	gone(t, processes)
}

// gone waits until none of the processes is left.
func gone(t testing.TB, processes map[int]string) {
	t.Helper()
	for pid, start := range processes {
		eventually(t, fmt.Sprintf("process %d has ended", pid), func() bool {
			data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			_, rest, _ := strings.Cut(string(data), ") ")
			return err != nil || len(strings.Fields(rest)) < 20 || strings.Fields(rest)[19] != start
		})
	}
}

// One program serves one command after another, until it is killed: then there is another. It ends with the
// worker, however that ends.
func TestNetworkProgramEnds(t *testing.T) {
	t.Parallel()
	root := tempDir(t)
	b := openIn(t, builder.Options{Root: root})
	s := base(t, b)
	if found := programsOf(t, root); len(found) > 0 {
		t.Fatalf("before any command there are %v", found)
	}
	const name = "readlink /proc/self/ns/net"
	first := sh(t, s, name)
	equal(t, sh(t, s, name), first)
	found := programsOf(t, root)
	if len(found) != 1 {
		t.Fatalf("for one command at a time there are %v", found)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := s.Run(ctx, builder.Cmd{Args: []string{"/bin/sleep", nap()}}); err == nil {
		t.Error("it was not cancelled")
	}
	if _, err := s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/false"}}); err == nil {
		t.Error("it did not fail")
	}
	gone(t, found) // what a failed command had serves no other
	sh(t, s, name)
	found = programsOf(t, root)
	kill(t, found)
	equal(t, on(t, s, isolation.Network{}, "nc -w 60 "+outer(t)+" "+serve(t, outer(t))), "served\n")
	found = programsOf(t, root)
	if len(found) != 1 {
		t.Errorf("now there are %v", found)
	}
	ok(t, b.Close())
	gone(t, found)
}
