//go:build linux

package rights

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/passwd"
	"github.com/oakum-build/oakum/builder/internal/sandbox"
	"github.com/oakum-build/oakum/builder/isolation"
	"github.com/oakum-build/oakum/builder/limits"
)

// newNamespace is one in which a command has all capabilities, and initial the machine's.
var (
	newNamespace = UserNamespace{UIDs: passwd.IDMap{{First: 0, Count: 10}}}
	rootsOwn     = UserNamespace{UIDs: passwd.IDMap{{First: 0, Count: 1<<32 - 1}}, SameRoot: true}
)

func of(t *testing.T, u UserNamespace, s isolation.Security) Rights {
	t.Helper()
	r, err := u.Of(sandbox.Command{Security: s}, false)
	if err != nil {
		t.Fatalf("%+v: %v", s, err)
	}
	return r
}

// What docs/security.md says of a command that asks for nothing.
func TestDefault(t *testing.T) {
	t.Parallel()
	r := of(t, newNamespace, isolation.Security{})
	wantMasked := strings.Fields(`/proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug /proc/scsi
		/proc/timer_list /proc/timer_stats /sys/devices/virtual/powercap /sys/firmware`)
	wantReadOnly := strings.Fields("/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger")
	if !sameSet(r.Capabilities, isolation.DockerCapabilities()) || !sameSet(r.Masked, wantMasked) || !sameSet(r.ReadOnly, wantReadOnly) {
		t.Errorf("%+v", r)
	}
	if r.Filter == nil || r.Filter.DefaultAction != specs.ActErrno || r.WritableSys || r.NoNewPrivileges || len(r.Limits) > 0 || r.ShmSize != 64<<20 || r.AppArmor+r.Label != "" {
		t.Errorf("%+v", r)
	}
	if r := of(t, rootsOwn, isolation.Security{}); !sameSet(r.Masked, append(wantMasked, rootsPaths...)) {
		t.Errorf("of root's: %q", r.Masked)
	}
}

func sameSet(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

func TestPaths(t *testing.T) {
	t.Parallel()
	usual := of(t, rootsOwn, isolation.Security{})
	all := len(usual.Masked) + len(usual.ReadOnly)
	for _, c := range []struct {
		s    isolation.Security
		less int
		has  []string
		not  []string
	}{
		{isolation.Security{Mask: []string{"/etc/x", "/proc/keys"}}, -1, []string{"/etc/x", "/proc/keys"}, nil},
		{isolation.Security{Unmask: []string{"/proc/keys", "/proc/sys"}}, 2, []string{"/proc/acpi"}, []string{"/proc/keys", "/proc/sys"}},
		{isolation.Security{Unmask: []string{"all"}}, all, nil, []string{"/proc/kmsg"}},
		{isolation.Security{Unmask: []string{"/sys/*"}}, 1, []string{"/sys/devices/virtual/powercap"}, []string{"/sys/firmware"}},
		{isolation.Security{Unmask: []string{"/proc"}}, 0, nil, nil},
		{isolation.Security{Unmask: []string{"ALL"}, Mask: []string{"/proc/keys"}}, all - 1, []string{"/proc/keys"}, nil},
		{isolation.Security{Insecure: true}, all, nil, nil},
		{isolation.Security{Insecure: true, Mask: []string{"/proc/keys"}}, all - 1, []string{"/proc/keys"}, nil},
	} {
		r := of(t, rootsOwn, c.s)
		paths := slices.Concat(r.Masked, r.ReadOnly)
		if len(paths) != all-c.less {
			t.Errorf("%+v: %d paths, want %d", c.s, len(paths), all-c.less)
		}
		for _, name := range c.has {
			if !slices.Contains(r.Masked, name) {
				t.Errorf("%+v: %s is not hidden", c.s, name)
			}
		}
		for _, name := range c.not {
			if slices.Contains(paths, name) {
				t.Errorf("%+v: %s is hidden or read-only", c.s, name)
			}
		}
	}
}

// Docker's filter depends on the capabilities that the command really has.
func TestFilter(t *testing.T) {
	t.Parallel()
	allows := func(r Rights, call string) bool {
		return slices.ContainsFunc(r.Filter.Syscalls, func(rule specs.LinuxSyscall) bool {
			return rule.Action == specs.ActAllow && len(rule.Args) == 0 && slices.Contains(rule.Names, call)
		})
	}
	if allows(of(t, newNamespace, isolation.Security{}), "mount") || !allows(of(t, newNamespace, isolation.Security{Add: []string{"sys_admin"}}), "mount") {
		t.Error("mount does not go with CAP_SYS_ADMIN")
	}
	if allows(of(t, newNamespace, isolation.Security{Drop: []string{"SYS_CHROOT"}}), "chroot") {
		t.Error("chroot without its capability")
	}
	for _, s := range []isolation.Security{{Seccomp: isolation.Unconfined}, {Insecure: true}} {
		if r := of(t, newNamespace, s); r.Filter != nil {
			t.Errorf("%+v has a filter", s)
		}
	}
	const own = `{"defaultAction": "SCMP_ACT_ALLOW", "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}],
		"syscalls": [{"names": ["mkdir", "add_key", "sysfs"], "action": "SCMP_ACT_ERRNO"}, {"names": ["chdir"], "action": "SCMP_ACT_ERRNO", "includes": {"caps": ["CAP_BPF"]}}, {"names": ["of_linux_9"], "action": "SCMP_ACT_ALLOW"}]}`
	for _, insecure := range []bool{false, true} {
		if r := of(t, newNamespace, isolation.Security{Seccomp: own, Insecure: insecure, Drop: []string{"bpf"}}); r.Filter == nil || r.Filter.DefaultAction != specs.ActAllow || len(r.Filter.Syscalls) != 2 || len(r.Filter.Architectures) > 1 {
			t.Errorf("%+v", r.Filter)
		}
	}
	for _, text := range []string{"{}", "null", "x", strings.ReplaceAll(own, "add_key", "ad_key")} {
		if _, err := newNamespace.Of(sandbox.Command{Security: isolation.Security{Seccomp: text}}, false); !errors.Is(err, limits.ErrInvalid) {
			t.Errorf("%.40s: %v", text, err)
		}
	}
}

// All system calls that this machine's headers name are known by name.
func TestCallNames(t *testing.T) {
	t.Parallel()
	known := callNames()
	text, err := os.ReadFile("/usr/include/seccomp-syscalls.h")
	if err != nil {
		t.Fatalf("%v; hack/deps installs what the tests need", err)
	}
	found := regexp.MustCompile(`#define __SNR_([a-z0-9_]+)`).FindAllSubmatch(text, -1)
	if len(found) < 400 {
		t.Fatalf("%d names", len(found))
	}
	for _, m := range found {
		if !known[string(m[1])] {
			t.Errorf("%s is not known", m[1])
		}
	}
}

func TestCapabilities(t *testing.T) {
	t.Parallel()
	if r := of(t, newNamespace, isolation.Security{Insecure: true}); !slices.Equal(r.Capabilities, kernelCapabilities()) {
		t.Errorf("insecure: %q", r.Capabilities)
	}
	if r := of(t, newNamespace, isolation.Security{Insecure: true, Drop: []string{"sys_admin"}}); slices.Contains(r.Capabilities, "CAP_SYS_ADMIN") {
		t.Error("CAP_SYS_ADMIN was to be dropped")
	}
	if r := of(t, newNamespace, isolation.Security{Drop: []string{"all"}, Add: []string{"kill"}}); !slices.Equal(r.Capabilities, []string{"CAP_KILL"}) {
		t.Errorf("%q", r.Capabilities)
	}
	// In the caller's own namespace there is no more than it has, and what is asked for by name must be there.
	own, err := ownCapabilities()
	if err != nil {
		t.Fatal(err)
	}
	r := of(t, UserNamespace{}, isolation.Security{Add: []string{"ALL"}})
	if !slices.Equal(r.Capabilities, own) {
		t.Errorf("all: %q, want %q", r.Capabilities, own)
	}
	var host *sandbox.HostError
	for _, name := range kernelCapabilities() {
		_, err := UserNamespace{}.Of(sandbox.Command{Security: isolation.Security{Add: []string{name}}}, false)
		if slices.Contains(own, name) != (err == nil) || err != nil && !errors.As(err, &host) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	ulimits := func(u UserNamespace, list ...isolation.Ulimit) ([]Limit, error) {
		r, err := u.Of(sandbox.Command{Limits: isolation.Limits{Ulimits: list}}, false)
		return r.Limits, err
	}
	got, err := ulimits(newNamespace, isolation.Ulimit{Name: "nofile", Soft: 10, Hard: 20}, isolation.Ulimit{Name: "core"})
	if err != nil || !slices.Equal(got, []Limit{{unix.RLIMIT_NOFILE, 10, 20}, {Resource: unix.RLIMIT_CORE}}) {
		t.Errorf("%v, %v", got, err)
	}
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &own); err != nil {
		t.Fatal(err)
	}
	var host *sandbox.HostError
	if _, err := ulimits(newNamespace, isolation.Ulimit{Name: "nofile", Soft: 1, Hard: int64(own.Max) + 1}); !errors.As(err, &host) || !strings.Contains(err.Error(), "nofile") {
		t.Errorf("more than oakum has: %v", err)
	}
	// Root of the machine can raise limits, but not beyond the kernel's.
	if caps, _ := ownCapabilities(); slices.Contains(caps, "CAP_SYS_RESOURCE") {
		if got, err := ulimits(rootsOwn, isolation.Ulimit{Name: "rtprio", Soft: -1, Hard: -1}); err != nil || got[0].Hard != unix.RLIM_INFINITY {
			t.Errorf("of root: %v, %v", got, err)
		}
		if _, err := ulimits(rootsOwn, isolation.Ulimit{Name: "nofile", Soft: -1, Hard: -1}); !errors.As(err, &host) {
			t.Errorf("endless files: %v", err)
		}
	}
	if _, err := ulimits(newNamespace, isolation.Ulimit{Name: "files"}); !errors.Is(err, limits.ErrInvalid) {
		t.Errorf("an unknown one: %v", err)
	}
}

// A device is opened without following links, and nothing else is opened.
func TestOpenDevice(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	link, below, file := filepath.Join(dir, "null"), filepath.Join(dir, "dev"), filepath.Join(dir, "file")
	for _, err := range []error{os.Symlink("/dev/null", link), os.Symlink("/dev", below), os.WriteFile(file, nil, 0o600), unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	f, err := OpenDevice("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, want := range map[string]string{link: "link", below + "/null": "link", file: "file", dir: "directory", filepath.Join(dir, "pipe"): "pipe"} {
		if _, err := OpenDevice(name); !errors.Is(err, limits.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	var host *sandbox.HostError
	if _, err := OpenDevice("/dev/none"); !errors.As(err, &host) {
		t.Errorf("none: %v", err)
	}
}

// Names of profiles and labels are errors where there is no such module.
func TestModules(t *testing.T) {
	t.Parallel()
	of(t, newNamespace, isolation.Security{AppArmor: isolation.Unconfined, Label: []string{"disable"}})
	var host *sandbox.HostError
	if _, err := os.Stat("/sys/module/apparmor/parameters/enabled"); err != nil {
		if _, err := newNamespace.Of(sandbox.Command{Security: isolation.Security{AppArmor: "docker-default"}}, false); !errors.As(err, &host) || !strings.Contains(err.Error(), "docker-default") {
			t.Errorf("AppArmor: %v", err)
		}
	}
	if _, err := os.Stat("/sys/fs/selinux/enforce"); err != nil {
		if _, err := newNamespace.Of(sandbox.Command{Security: isolation.Security{Label: []string{"disable", "type:spc_t"}}}, false); !errors.As(err, &host) || !strings.Contains(err.Error(), "spc_t") {
			t.Errorf("SELinux: %v", err)
		}
	}
	if got, err := labelled("u:r:t:s0:c1,c2", []string{"type:container_t", "level:s0:c3"}); got != "u:r:container_t:s0:c3" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := labelled("u:r:t:s0:c1,c2", []string{"user:x", "role:y"}); got != "x:y:t:s0:c1,c2" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := labelled("kernel", []string{"type:t"}); !errors.As(err, &host) {
		t.Errorf("%v", err)
	}
}
