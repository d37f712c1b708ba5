//go:build linux && (amd64 || arm64)

package thread

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/sandbox"
)

// sharedPlace is a root file system, and a sandbox for it whose commands share this PID namespace.
func sharedPlace(t *testing.T) (sandbox.Sandbox, sandbox.Command) {
	t.Helper()
	_, root := chrootPlace(t)
	for _, name := range []string{sandbox.HostsFile, sandbox.ResolvFile} {
		if err := os.WriteFile(filepath.Join(root, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return NewShared(filepath.Join(filepath.Dir(root), "state")), sandbox.Command{Root: sandbox.Root{Path: root}}
}

// A command sees the /proc of this process, with what is hidden from all commands hidden, and is in its PID
// namespace alone.
func TestShared(t *testing.T) {
	s, c := sharedPlace(t)
	own := func(kind string) string {
		name, err := os.Readlink("/proc/self/ns/" + kind)
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	for script, want := range map[string]string{
		"readlink /proc/self/ns/pid": own("pid") + "\n",
		"for n in mnt ipc uts; do readlink /proc/self/ns/$n; done | grep -c -e '" + strings.Join([]string{own("mnt"), own("ipc"), own("uts")}, "' -e '") + "'": "0\n",
		fmt.Sprintf("[ -d /proc/%d ] && cat /proc/$$/comm; true", os.Getpid()):                                                                                 "sh\n",
		fmt.Sprintf("cat /proc/%d/environ /proc/%[1]d/root/etc/passwd 2>/dev/null || echo kept", os.Getpid()):                                                  "kept\n",
		"cat /proc/keys /proc/timer_list | wc -c":                                                                                                              "0\n",
		"[ -e /proc/sys/kernel/core_pattern ] && (echo x >/proc/sys/kernel/core_pattern) 2>/dev/null || echo kept":                                             "kept\n",
		fmt.Sprintf("kill -0 %d 2>/dev/null && echo reached || echo kept", os.Getpid()):                                                                        "kept\n",
	} {
		if got, _, err := runChroot(t, s, c, script); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", script, got, err, want)
		}
	}
	is, err := s.Isolation()
	if err != nil || strings.Contains(strings.Join(is.Namespaces, " "), "pid") || len(is.Without) == 0 {
		t.Errorf("%+v, %v", is, err)
	}
}

// All processes of a command end with it, whatever they have done to get away, and when it is cancelled.
func TestSharedEnds(t *testing.T) {
	s, c := sharedPlace(t)
	got, _, err := runChroot(t, s, c, "(trap '' HUP TERM; setsid sleep 1000 >/dev/null 2>&1 & echo $!); (sleep 1000 >/dev/null 2>&1 & echo $!)")
	if err != nil || len(strings.Fields(got)) != 2 {
		t.Fatalf("%q, %v", got, err)
	}
	for _, text := range strings.Fields(got) {
		if pid, err := strconv.Atoi(text); err != nil || !errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			t.Errorf("process %s is left", text)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	mark := fmt.Sprint(500000000 + os.Getpid()) // of no other sleep
	c.Process = sandbox.Process{Args: []string{"sh", "-c", "sleep " + mark + " & sleep " + mark}, Env: []string{"PATH=/bin"}, Dir: "/"}
	c.Stdio = sandbox.Stdio{In: null, Out: null, Err: null}
	if _, err := s.Run(ctx, c); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("cancelled: %v", err)
	}
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if line, _ := os.ReadFile(name); strings.HasPrefix(string(line), "sleep\x00"+mark) {
			t.Errorf("%s is left", name)
		}
	}
}
