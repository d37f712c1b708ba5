//go:build linux

package network

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
)

// id tells a leased namespace from others.
func id(t testing.TB, l *Lease) uint64 {
	t.Helper()
	f, err := l.File(t.Context())
	ok(t, err)
	var st unix.Stat_t
	ok(t, unix.Fstat(int(f.Fd()), &st))
	return st.Ino
}

// A namespace serves one command after another, and two at once have two. One that was changed, or
// whose program has ended, is not given again.
func TestReuse(t *testing.T) {
	for _, kind := range []Kind{Empty, Connected} {
		p := newPool(t)
		p.Warm(kind)
		p.Warm(kind)
		if n := len(p.free[kind]); n != 1 {
			t.Errorf("%d namespaces were made ahead", n)
		}
		a, b := p.Take(kind), p.Take(kind)
		first, second := id(t, a), id(t, b)
		if first == second {
			t.Fatal("two commands have the same namespace")
		}
		a.Release(true)
		c := p.Take(kind)
		if id(t, c) != first {
			t.Error("the namespace did not serve again")
		}
		c.Release(false)
		c = p.Take(kind)
		if id(t, c) == first {
			t.Error("one that was changed serves again")
		}
		if kind == Connected {
			pid := c.m.ns.link.process.Pid
			c.Release(true)
			ok(t, unix.Kill(pid, unix.SIGKILL))
			for c.m.ns.alive() {
				time.Sleep(time.Millisecond)
			}
			d := p.Take(kind)
			inside(t, d, func() error {
				_, err := os.Stat("/proc/thread-self/net/dev")
				return err
			})
			if !d.m.ns.alive() {
				t.Error("the network is dead")
			}
			d.Release(true)
		} else {
			c.Release(true)
		}
		b.Release(true)
		p.Close()
	}
}

// A program that has ended connects nothing, whether or not it has been waited for.
func TestAlive(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	ok(t, cmd.Start())
	c := &connection{process: cmd.Process, ended: make(chan struct{})}
	if !c.alive() {
		t.Error("it is dead when it has begun")
	}
	ok(t, cmd.Process.Kill())
	var info unix.Siginfo
	ok(t, unix.Waitid(unix.P_PID, cmd.Process.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil))
	if c.alive() {
		t.Error("it is alive when it has ended")
	}
	_ = cmd.Wait()
	if c.alive() {
		t.Error("it is alive when it has been waited for")
	}
}

// Nothing stays of what many commands at once had, whatever happened to them: no process, thread or
// descriptor.
func TestNothingLeft(t *testing.T) {
	p := newPool(t)
	before := left(t)
	for round := range 3 {
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				l := p.Take(i%4 == 0)
				ctx, cancel := context.WithCancel(t.Context())
				if i%3 == 0 {
					cancel() // before it is ready
				}
				_, _ = l.File(ctx)
				cancel()
				l.Release(i%2 == 0)
			})
		}
		wg.Wait()
		if round == 1 {
			p.Warm(Connected)
		}
	}
	late := p.Take(Connected)
	p.Close()
	late.Release(true)
	p.Take(Empty).Release(true)
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		now := left(t)
		if slices.Equal(now, before) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("left: %q, before: %q", now, before)
		}
	}
}

// left lists this process's descriptors, but for those of the runtime, and children.
func left(t testing.TB) []string {
	t.Helper()
	var list []string
	entries, err := os.ReadDir("/proc/self/fd")
	ok(t, err)
	for _, e := range entries {
		to, _ := os.Readlink("/proc/self/fd/" + e.Name())
		if !strings.HasPrefix(to, "anon_inode:") && !strings.HasPrefix(to, "/proc/") {
			list = append(list, to)
		}
	}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	ok(t, err)
	for _, name := range stats {
		data, _ := os.ReadFile(name)
		if _, rest, found := strings.Cut(string(data), ") "); found && strings.Fields(rest)[1] == strconv.Itoa(os.Getpid()) {
			list = append(list, string(data[:strings.IndexByte(string(data), ')')]))
		}
	}
	slices.Sort(list)
	return list
}

// Programs that are missing, end at once, or are never ready: the next one is tried, and the error says of
// each why. What has failed is not tried again.
func TestPrograms(t *testing.T) {
	bin := t.TempDir()
	tool := func(name, script string) {
		ok(t, os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\necho \"$0\" >>"+bin+"/log\n"+script), 0o755))
	}
	ok(t, os.Chmod(bin, 0o777))
	real := os.Getenv("PATH")
	for name, test := range map[string]struct {
		pasta, slirp string // scripts; "" is none
		says         []string
		started      int
	}{
		"missing": {"", "", []string{"pasta is not installed", "slirp4netns is not installed"}, 0},
		"ends":    {"echo Failed to send 3 bytes to syslog >&2; echo no route >&2; exit 1", "exit 0", []string{"pasta does not work: it ended: no route;", "slirp4netns does not work: it ended"}, 3},
		"hangs":   {"exec /bin/sleep 60", "exec /bin/sleep 60", []string{"pasta does not work: it was not ready after 300ms", "slirp4netns does not work: it was not ready"}, 2},
		"no tap":  {"echo 1; exec /bin/sleep 60", "echo 1 >&3; exec /bin/sleep 60", []string{"pasta does not work: it has no network device", "slirp4netns does not work: it has no network device"}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			for name, script := range map[string]string{"pasta": test.pasta, "slirp4netns": test.slirp} {
				if script == "" {
					_ = os.Remove(filepath.Join(bin, name))
				} else {
					tool(name, script)
				}
			}
			ok(t, os.WriteFile(bin+"/log", nil, 0o666))
			ok(t, os.Chmod(bin+"/log", 0o666))
			t.Setenv("PATH", bin)
			before := left(t)
			p := newPool(t)
			if name == "hangs" {
				p.patience = 300 * time.Millisecond
			}
			var host *errdefs.HostError
			for range 3 {
				l := p.Take(Connected)
				_, err := l.File(t.Context())
				l.Release(true)
				if !errors.As(err, &host) || !strings.Contains(host.Remedy, "apt-get install passt") {
					t.Fatalf("got %v", err)
				}
			}
			for _, want := range test.says {
				if !strings.Contains(host.Missing, want) {
					t.Errorf("%q does not say %q", host.Missing, want)
				}
			}
			if strings.Contains(host.Missing, "syslog") {
				t.Errorf("%q tells of syslog", host.Missing)
			}
			log, err := os.ReadFile(bin + "/log")
			ok(t, err)
			if n := strings.Count(string(log), "\n"); n > test.started || n < test.started && name != "hangs" { // one may be ended before it has told
				t.Errorf("programs were started %d times:\n%s", n, log)
			}
			l := p.Take(Empty)
			_, err = l.File(t.Context())
			l.Release(true)
			p.Close()
			ok(t, err)
			if now := left(t); !slices.Equal(now, before) {
				t.Errorf("left: %q, before: %q", now, before)
			}
			if p.HasWorked() {
				t.Error("something has worked")
			}
		})
	}
	// With a pasta that ends at once there is slirp4netns.
	tool("pasta", "exit 1")
	t.Setenv("PATH", bin+":"+real)
	_ = os.Remove(filepath.Join(bin, "slirp4netns"))
	p := newPool(t)
	l := p.Take(Connected)
	_, err := l.File(t.Context())
	ok(t, err)
	l.Release(true)
	if !p.HasWorked() || p.programs[0].name != "slirp4netns" {
		t.Error("slirp4netns did not connect it")
	}
}

// What is to be so in each namespace, so that root of another user namespace, and users, can listen on all
// ports and ping.
func TestSettings(t *testing.T) {
	p := newPool(t)
	l := p.Take(Empty)
	defer l.Release(true)
	inside(t, l, func() error {
		start, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
		if err != nil || string(start) != "0\n" {
			t.Errorf("first port of users: %q, %v", start, err)
		}
		groups, err := os.ReadFile("/proc/sys/net/ipv4/ping_group_range")
		if fields := strings.Fields(string(groups)); err != nil || len(fields) != 2 || fields[0] != "0" || len(fields[1]) < 4 {
			t.Errorf("groups that may ping: %q, %v", groups, err)
		}
		return nil
	})
}

// The programs keep few rights: one that a command breaks into is nobody with CAP_SYS_ADMIN, by which pasta may
// enter the namespace, or root of the user namespace with CAP_NET_BIND_SERVICE, behind a system-call filter and in
// a root file system of next to nothing.
func TestRights(t *testing.T) {
	for name, want := range map[string][]string{
		"pasta":       {"Uid:\t65534\t65534\t65534\t65534", "CapPrm:\t0000000000200000", "CapInh:\t0000000000000000", "CapAmb:\t0000000000000000", "Seccomp:\t2"},
		"slirp4netns": {"CapPrm:\t0000000000000400", "CapAmb:\t0000000000000000", "Seccomp:\t2"},
	} {
		l := newPool(t, named(name)...).Take(Connected)
		_, err := l.File(t.Context())
		ok(t, err)
		proc := "/proc/" + strconv.Itoa(l.m.ns.link.process.Pid)
		var status []byte
		for _, line := range want { // pasta says that it is ready a moment before
			for deadline := time.Now().Add(2 * time.Minute); !strings.Contains(string(status), line+"\n"); {
				status, err = os.ReadFile(proc + "/status")
				ok(t, err)
				if time.Now().After(deadline) {
					t.Fatalf("%s has not %q:\n%s", name, line, status)
				}
			}
		}
		if entries, err := os.ReadDir(proc + "/root/"); err != nil || len(entries) > 3 || len(entries) == 3 && name == "pasta" {
			t.Errorf("%s sees %v, %v", name, entries, err)
		}
		l.Release(true)
	}
}
