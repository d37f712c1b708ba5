//go:build linux

package cgroup

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/isolation"
)

// place is a group for a test, and what of it can be had: nothing for an ordinary user to whom
// nothing is delegated.
func place(t *testing.T) (parent string, controllers []string, may bool) {
	t.Helper()
	h, err := find()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := h.group(h.base())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	text, err := readAt(dir, "cgroup.controllers")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.close)
	name := "oakum-test-" + strconv.Itoa(os.Getpid()) + "-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	t.Cleanup(func() {
		if err := unix.Unlinkat(int(h.root.Fd()), name, unix.AT_REMOVEDIR); err != unix.ENOENT {
			t.Errorf("the group that was made for others is left: %v", err)
		}
	})
	return name, strings.Fields(text), unix.Faccessat(int(dir.Fd()), "cgroup.subtree_control", unix.W_OK, unix.AT_EACCESS) == nil
}

// refused wants the machine to be blamed, by name.
func refused(t *testing.T, l isolation.Limits, what string) {
	t.Helper()
	g, err := Make(l)
	var host *errdefs.HostError
	if g != nil || !errors.As(err, &host) || !strings.Contains(err.Error(), what) || !strings.Contains(host.Fix(), "Delegate=yes") {
		t.Errorf("%+v: %v, want %q", l, err, what)
	}
}

// A command is in its own group, which goes with it, whatever of it is left running.
func TestGroup(t *testing.T) {
	parent, _, may := place(t)
	l := isolation.Limits{CgroupParent: parent}
	if !may {
		refused(t, l, parent)
		return
	}
	g, err := Make(l)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", "echo 0 >&3; exec 3>&-; cat /proc/self/cgroup; setsid sleep 987653 >/dev/null 2>&1 &")
	cmd.ExtraFiles = []*os.File{g.Procs}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "0::/"+parent+"/"+g.name+"\n") {
		t.Fatalf("%v\n%s", err, out)
	}
	procs, err := readAt(g.dir, "cgroup.procs")
	if err != nil || procs == "" {
		t.Fatalf("%q, %v", procs, err)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if exe, err := os.Readlink("/proc/" + procs + "/exe"); err == nil {
		t.Errorf("still running: %s", exe)
	}
}

// What a worker left that was killed is removed by the next one, and a group in use never.
func TestSweep(t *testing.T) {
	parent, _, may := place(t)
	if !may {
		return // TestGroup says what is so
	}
	used, err := Make(isolation.Limits{CgroupParent: parent})
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkdirat(int(used.parent.Fd()), prefix+"left", 0o755); err != nil {
		t.Fatal(err)
	}
	again, err := Make(isolation.Limits{CgroupParent: parent})
	if err != nil {
		t.Fatal(err)
	}
	list, err := openAt(again.parent, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	names, err := list.Readdirnames(-1)
	if err != nil || slices.Contains(names, prefix+"left") || !slices.Contains(names, used.name) || !slices.Contains(names, again.name) {
		t.Errorf("%q, %v", names, err)
	}
	if err := errors.Join(again.Close(), used.Close()); err != nil {
		t.Error(err)
	}
}

// Each limit is kept where there is its controller, and refused where there is none.
func TestLimits(t *testing.T) {
	parent, controllers, may := place(t)
	for _, c := range []struct {
		controller string
		l          isolation.Limits
		want       map[string]string
	}{
		{"memory", isolation.Limits{Memory: 64<<20 + 5}, map[string]string{"memory.max": "67108864", "memory.swap.max": "67108864"}},
		{"memory", isolation.Limits{Memory: 64 << 20, MemorySwap: 80 << 20}, map[string]string{"memory.swap.max": "16777216"}},
		{"memory", isolation.Limits{Memory: 64 << 20, MemorySwap: -1}, map[string]string{"memory.swap.max": "max"}},
		{"cpu", isolation.Limits{CPUShares: 512}, map[string]string{"cpu.weight": "50", "cpu.max": "max 100000"}},
		{"cpu", isolation.Limits{CPUQuota: 50000, CPUPeriod: 200000}, map[string]string{"cpu.max": "50000 200000"}},
		{"cpu", isolation.Limits{CPUQuota: 50000}, map[string]string{"cpu.max": "50000 100000"}},
		{"cpuset", isolation.Limits{CPUs: "0", Memories: "0"}, map[string]string{"cpuset.cpus.effective": "0", "cpuset.mems.effective": "0"}},
	} {
		c.l.CgroupParent = parent
		if !may {
			refused(t, c.l, parent)
			continue
		}
		if !slices.Contains(controllers, c.controller) {
			refused(t, c.l, "no controller "+c.controller)
			continue
		}
		g, err := Make(c.l)
		if err != nil {
			t.Errorf("%+v: %v", c.l, err)
			continue
		}
		for file, want := range c.want {
			if got, err := readAt(g.dir, file); got != want && !(strings.HasPrefix(file, "memory.swap") && errors.Is(err, os.ErrNotExist)) {
				t.Errorf("%+v: %s is %q, %v, want %q", c.l, file, got, err, want)
			}
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}
	if slices.Contains(controllers, "cpuset") && may {
		g, err := Make(isolation.Limits{CgroupParent: parent, CPUs: "0,5000"})
		var host *errdefs.HostError
		if !errors.As(err, &host) {
			t.Errorf("processors that are not there: %v, %v", g, err)
		}
	}
}

// The kernel ends what uses more memory than it may, and it is known that this was why.
func TestOutOfMemory(t *testing.T) {
	parent, controllers, may := place(t)
	if !may || !slices.Contains(controllers, "memory") {
		return // TestLimits says what is so
	}
	g, err := Make(isolation.Limits{CgroupParent: parent, Memory: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", "echo 0 >&3; exec 3>&-; head -c 100m /dev/zero | tail -n 1 | wc -c")
	cmd.ExtraFiles = []*os.File{g.Procs}
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "104857600") || g.Killed() == 0 {
		t.Errorf("%v, %d killed\n%s", err, g.Killed(), out)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
}

// The hierarchy is found in whatever form a machine mounts it.
func TestFind(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(text string) string {
		name := filepath.Join(dir, "f")
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for text, want := range map[string][2]string{
		"30 24 0:27 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n":                                                                    {"/sys/fs/cgroup", "/"},
		"30 24 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n31 24 0:28 /a\\040b /sys/fs/cgroup/unified rw - cgroup2 none rw\n32 1 x": {"/sys/fs/cgroup/unified", "/a b"},
		"30 24 0:27 / / rw - ext4 /dev/cgroup2 rw\n\nx\n":                                                                                          {"", ""},
	} {
		if point, above, err := mounted(write(text)); point != want[0] || above != want[1] || err != nil {
			t.Errorf("%q: %q, %q, %v", text, point, above, err)
		}
	}
	for text, want := range map[string]string{"0::/user.slice/a.scope\n": "/user.slice/a.scope", "4:memory:/x\n0::/\n": "/", "4:memory:/x\n": ""} {
		if own, err := ownGroup(write(text)); own != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", text, own, err)
		}
	}
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	for shares, want := range map[int64]int64{2: 1, 1024: 100, 2048: 200, 262144: 10000} {
		if got := weight(shares); got != want {
			t.Errorf("%d shares: %d, want %d", shares, got, want)
		}
	}
	for pair, want := range map[[2]string]bool{{"0-3", "0,1,2-3"}: true, {"0", "0-1"}: false, {"0,5", "0"}: false, {"", "0"}: false} {
		if got := sameRanges(pair[0], pair[1]); got != want {
			t.Errorf("%q: %v", pair, got)
		}
	}
}
