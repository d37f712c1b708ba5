//go:build linux

package builder_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/isolation"
)

// given is the output of a script that is kept apart in some way.
func given(t testing.TB, s *builder.Stage, o isolation.Options, script string) string {
	t.Helper()
	return output(t, s, builder.Cmd{Args: []string{"/bin/sh", "-c", script}, Isolation: o, Ephemeral: true})
}

// Each sandbox of this program, which imports libcontainer's, runs commands.
func TestSandboxes(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	for _, name := range []isolation.Sandbox{isolation.Default, isolation.OCI} {
		equal(t, given(t, s, isolation.Options{Sandbox: name}, "echo $$; hostname"), "1\noakum\n")
	}
}

// onlyMounts are scripts of TestGivenRights whose commands are refused in a chroot, and chrootGives what others
// write there: a filter is there for what is asked about /proc, and nothing can be mounted.
var (
	onlyMounts = map[string]bool{
		"mount -t tmpfs none /tmp && echo mounted": true, "cat /etc/passwd; ls /home": true, "df -k /dev/shm | tail -n 1 | awk '{print $2}'": true,
	}
	chrootGives = map[string]string{
		"grep Seccomp: /proc/self/status": "Seccomp:\t2\n",
		"mount -t tmpfs none /tmp && grep -e Seccomp: -e CapBnd /proc/self/status | grep -v a80425fb; grep -c ' /proc/' /proc/self/mountinfo": "mount: permission denied (are you root?)\n0\n",
	}
)

// What a command may do beside what each may, and what of that it may not.
func TestGivenRights(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	rights := func(s isolation.Security) isolation.Options { return isolation.Options{Security: s} }
	for _, c := range []struct {
		o            isolation.Options
		script, want string
	}{
		{rights(isolation.Security{Drop: []string{"CHOWN"}}), "touch /f; chown 5 /f 2>&1", "chown: /f: Operation not permitted\n"},
		{rights(isolation.Security{Drop: []string{"all"}}), "grep CapBnd /proc/self/status", "CapBnd:\t0000000000000000\n"},
		{rights(isolation.Security{Add: []string{"sys_admin"}}), "mount -t tmpfs none /tmp && echo mounted", "mounted\n"},
		{rights(isolation.Security{Add: []string{"ALL"}, Drop: []string{"CAP_SYS_ADMIN"}}), "mount -t tmpfs none /tmp 2>/dev/null || echo refused", "refused\n"},
		{rights(isolation.Security{Seccomp: isolation.Unconfined}), "grep Seccomp: /proc/self/status", "Seccomp:\t0\n"},
		{rights(isolation.Security{Seccomp: `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["sethostname"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]}`}),
			"hostname x 2>&1; grep Seccomp: /proc/self/status", "hostname: sethostname: Function not implemented\nSeccomp:\t2\n"},
		{rights(isolation.Security{NoNewPrivileges: true}), "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1\n"},
		{rights(isolation.Security{Mask: []string{"/etc/passwd", "/home"}}), "cat /etc/passwd; ls /home", ""},
		{rights(isolation.Security{Unmask: []string{"/proc/sys"}}), "grep -c ' /proc/sys ' /proc/self/mountinfo", "0\n"},
		{rights(isolation.Security{Insecure: true}), "mount -t tmpfs none /tmp && grep -e Seccomp: -e CapBnd /proc/self/status | grep -v a80425fb; grep -c ' /proc/' /proc/self/mountinfo", "Seccomp:\t0\n0\n"},
		{isolation.Options{Limits: isolation.Limits{Ulimits: []isolation.Ulimit{{Name: "nofile", Soft: 200, Hard: 300}}}}, "ulimit -S -n; ulimit -H -n", "200\n300\n"},
		{isolation.Options{Limits: isolation.Limits{ShmSize: 2 << 20}}, "df -k /dev/shm | tail -n 1 | awk '{print $2}'", "2048\n"},
		{isolation.Options{Devices: []string{"/dev/zero:/dev/other", "/dev/null:/srv/null:rwm"}}, "stat -c %t:%T /dev/other /srv/null; head -c 3 /dev/other | wc -c; echo >/srv/null", "1:5\n1:3\n3\n"},
		{isolation.Options{Groups: []string{"apps", "27", "0"}}, "id -G", "0 27 1001\n"},
		{rights(isolation.Security{AppArmor: isolation.Unconfined, Label: []string{"disable"}}), "echo ran", "ran\n"},
	} {
		if inChroot {
			var host *builder.HostError
			if _, err := s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/true"}, Isolation: c.o, Ephemeral: true}); onlyMounts[c.script] || c.o.Devices != nil && !ofTheMachine(t) {
				if !errors.As(err, &host) || host.Fix == "" {
					t.Errorf("%+v: %v", c.o, err)
				}
				continue
			}
			if otherwise, is := chrootGives[c.script]; is {
				c.want = otherwise
			}
		}
		got := given(t, s, c.o, c.script+"; true")
		if strings.HasPrefix(c.script, "mount -t tmpfs none /tmp && grep") && !inChroot {
			got = got[strings.Index(got, "Seccomp"):] // what this machine's capabilities are
		}
		if got != c.want {
			t.Errorf("%+v: %s: got %q, want %q", c.o, c.script, got, c.want)
		}
	}
	equal(t, output(t, s, builder.Cmd{Args: []string{"/bin/id", "-G"}, User: "app", Isolation: isolation.Options{Groups: []string{"27", "web"}}, Ephemeral: true}), "1001 27 33 2000 2001\n")
}

// What is refused is so before the command runs, and leaves the stage as it was.
func TestRefusedRights(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	try := func(o isolation.Options) error {
		return errOf(s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/touch", "/ran"}, Isolation: o}))
	}
	for name, o := range map[string]isolation.Options{
		"network": {Network: isolation.Network{Mode: "bridge"}}, "sandbox": {Sandbox: "none"}, "capability": {Security: isolation.Security{Add: []string{"root"}}},
		"profile": {Security: isolation.Security{Seccomp: "{}"}}, "unknown call": {Security: isolation.Security{Seccomp: `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["nocall"], "action": "SCMP_ACT_ERRNO"}]}`}},
		"mask": {Security: isolation.Security{Mask: []string{"x"}}}, "ulimit": {Limits: isolation.Limits{Ulimits: []isolation.Ulimit{{Name: "x"}}}}, "CDI": {Devices: []string{"nvidia.com/gpu=all"}},
		"link": {Devices: []string{"/proc/self/fd/0:/dev/a"}}, "directory": {Devices: []string{"/dev/pts:/dev/a"}}, "reading": {Devices: []string{"/dev/null:r"}}, "keep-groups": {Groups: []string{"keep-groups"}},
	} {
		if err := try(o); !errors.Is(err, builder.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	is(t, try(isolation.Options{Groups: []string{"no-such-group"}}), builder.ErrUserNotFound)
	var host *builder.HostError
	for name, o := range map[string]isolation.Options{
		"no device": {Devices: []string{"/dev/no-such-device"}}, "files": {Limits: isolation.Limits{Ulimits: []isolation.Ulimit{{Name: "nofile", Soft: 1, Hard: -1}}}},
	} {
		if err := try(o); !errors.As(err, &host) || host.Fix == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat("/sys/module/apparmor"); err != nil {
		if err := try(isolation.Options{Security: isolation.Security{AppArmor: "docker-default"}}); !errors.As(err, &host) {
			t.Errorf("AppArmor: %v", err)
		}
	}
	equal(t, sh(t, s, "ls /ran 2>/dev/null; true"), "")
}

// Devices and groups leave nothing in the layer, and what a command was given is in the step's key.
func TestRightsAndLayers(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	cmd := builder.Cmd{Args: []string{"/bin/sh", "-c", "echo x >/srv/d/null; id -G >/groups"}, Isolation: isolation.Options{Devices: []string{"/dev/null:/srv/d/null"}, Groups: []string{"27"}}}
	if inChroot && !ofTheMachine(t) { // who can make no node of one
		cmd.Args[2], cmd.Isolation.Devices = "id -G >/groups", nil
	}
	ok(t, errOf(s.Run(t.Context(), cmd)))
	if got := names(lastLayer(t, b, s)); got != "groups" {
		t.Errorf("the layer has %q", got)
	}
	for group, cached := range map[string]bool{"27": true, "28": false} {
		cmd.Isolation.Groups = []string{group}
		step, err := base(t, b).Run(t.Context(), cmd)
		ok(t, err)
		if step.Cached != cached {
			t.Errorf("with group %s the step's being cached is %v", group, step.Cached)
		}
	}
}

// Limits of memory and processor time are kept, or refused before the command runs; in no case they
// are passed over.
func TestControlGroups(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	for name, l := range map[string]isolation.Limits{
		"memory": {Memory: 32 << 20}, "cpu": {CPUQuota: 50000}, "shares": {CPUShares: 100}, "cpuset": {CPUs: "0"}, "parent": {CgroupParent: fmt.Sprintf("/no-such-group-%d/below", os.Getpid())},
	} {
		for _, sandbox := range sandboxes() {
			var out strings.Builder
			_, err := s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/grep", "^0:", "/proc/self/cgroup"}, Isolation: isolation.Options{Sandbox: sandbox, Limits: l}, Stdout: &out, Ephemeral: true})
			t.Logf("%s: %q, %v", name, &out, err)
			var host *builder.HostError
			switch {
			case errors.As(err, &host):
				if out.Len() > 0 || !strings.Contains(host.Fix, "Delegate=yes") && !strings.Contains(host.Fix, "unified") {
					t.Errorf("%s: %v, %q", name, err, &out)
				}
			case err != nil || !strings.Contains(out.String(), "/oakum-run-"):
				t.Errorf("%s: %v, %q", name, err, &out)
			}
		}
	}
}

// No control group can be made or changed by a command (CVE-2023-25809), in whatever network it is,
// and with whatever capabilities.
func TestNoWritableControlGroup(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	// By trying: a shell thinks that root may write everywhere.
	const script = `find /sys/fs/cgroup -type d | while read d; do (mkdir $d/oakum-test && rmdir $d/oakum-test) 2>/dev/null && echo $d; done
find /sys/fs/cgroup -name cgroup.procs | while read f; do (: >>$f) 2>/dev/null && echo $f; done
ls -d /sys/fs/cgroup`
	for _, sandbox := range sandboxes() {
		for _, mode := range []isolation.Mode{isolation.Host, isolation.None} {
			o := isolation.Options{Sandbox: sandbox, Network: isolation.Network{Mode: mode}}
			want := "/sys/fs/cgroup\n"
			if inChroot { // it shows nothing of the machine
				o.Network, want = isolation.Network{}, ""
			}
			equal(t, given(t, s, o, "("+script+") 2>/dev/null; true"), want)
			o.Security.Add = []string{"DAC_OVERRIDE", "SYS_ADMIN"}
			if inChroot {
				o.Security.Add = o.Security.Add[:1]
			}
			equal(t, given(t, s, o, "("+script+") 2>/dev/null; true"), want)
		}
	}
}

// A process has the groups of its user, and just these (CVE-2022-2990, CVE-2022-36109, CVE-2023-25173).
func TestSupplementaryGroups(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	for user, want := range map[string]string{
		"": "0 0 0", "0": "0 0 0", "root": "0 0 0", "1234": "1234 0 0", "1234:1234": "1234 1234 1234", "1234:web": "1234 33 33",
		"app": "1000 1001 1001 2000 2001", "app:web": "1000 33 33", "root:web": "0 33 33", "1000": "1000 1001 1001 2000 2001",
	} {
		for _, sandbox := range sandboxes() {
			got := output(t, s, builder.Cmd{Args: []string{"/bin/sh", "-c", "echo $(id -u) $(id -g) $(grep ^Groups: /proc/self/status | cut -f 2)"}, User: user, Isolation: isolation.Options{Sandbox: sandbox}, Ephemeral: true})
			if got != want+"\n" {
				t.Errorf("%q in %s: got %q, want %q", user, sandbox, got, want)
			}
		}
	}
}
