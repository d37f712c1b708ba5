//go:build linux

package userns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A worker of each kind that this user can have is what the kind says.
func TestKinds(t *testing.T) {
	t.Parallel()
	all := []Kind{AllIDs, allIDsShared, OneID, oneIDShared, Plain}
	if os.Geteuid() == 0 {
		all = []Kind{Root, rootShared, AllIDs, allIDsShared, Plain}
	}
	own := func(pid any, ns string) string {
		name, err := os.Readlink(fmt.Sprintf("/proc/%v/ns/%s", pid, ns))
		if err != nil {
			t.Error(err)
		}
		return name
	}
	for _, kind := range all {
		t.Run(string(kind), func(t *testing.T) {
			p, err := try(t.Context(), self, options(""), kind)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Kill()
			pid := p.cmd.Process.Pid
			for ns, apart := range map[string]bool{"pid": kinds[kind].pids, "user": kinds[kind].users, "mnt": kind != Plain} {
				if got := own(pid, ns) != own("self", ns); got != apart {
					t.Errorf("%s namespace of its own: %v", ns, got)
				}
			}
			ids, err := os.ReadFile(fmt.Sprintf("/proc/%d/uid_map", pid))
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Fields(string(ids))
			if one := len(lines) == 3 && lines[2] == "1"; one == kind.AllIDs() && kind != Plain {
				t.Errorf("the ids are %q", ids)
			}
		})
	}
}

// A worker of each kind that has no PID namespace can be had in one that sees the /proc of another, where all numbers are
// those of other processes, and what it has started is left alone.
func TestOtherNumbers(t *testing.T) {
	const again = "_OAKUM_TEST_OTHER_NUMBERS"
	if os.Getenv(again) == "" {
		cmd := exec.Command(self, "-test.run=^TestOtherNumbers$", "-test.count=1")
		cmd.Env = append(os.Environ(), again+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	for _, kind := range []Kind{rootShared, allIDsShared, Plain} {
		p, err := try(t.Context(), self, options(""), kind)
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		p.Kill()
	}
}

// A worker ends when the socket does, of whatever kind: one without a PID namespace is not killed with its
// parent, since what it has started would survive it.
func TestPlainEnds(t *testing.T) {
	t.Parallel()
	opts := options("")
	opts.Plain = true
	p, err := Start(t.Context(), opts)
	if err != nil || p.Kind != Plain || len(p.Refused) != 0 {
		t.Fatalf("%+v, %v", p, err)
	}
	p.Control.Close()
	select {
	case <-p.Done():
	case <-time.After(2 * time.Minute):
		t.Error("it goes on")
	}
	p.Kill()
}

// What a machine refuses gives the next best kind, and is told with what mends it.
func TestNextBest(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		how  string
		want []Kind // as root, as an ordinary user
		lack []Lack
	}{
		{"refuse mounts", []Kind{Plain, Plain}, []Lack{Mounts}},
		{"refuse proc", []Kind{rootShared, allIDsShared}, []Lack{Proc}},
		{"refuse ids", []Kind{Plain, OneID}, []Lack{IDs}},
	} {
		p, err := Start(t.Context(), options(test.how))
		if err != nil {
			t.Fatal(err)
		}
		want := test.want[1]
		if os.Geteuid() == 0 {
			want = test.want[0]
		}
		if p.Kind != want || len(p.Refused) != 1 || p.Refused[0].Lack != test.lack[0] || p.Refused[0].Missing != "refused" || p.Refused[0].Fix != "mend it" {
			t.Errorf("%s: %s, %+v", test.how, p.Kind, p.Refused)
		}
		p.Kill()
	}
	// What nothing can do without is an error.
	var fault *Fault
	if p, err := Start(t.Context(), options("refuse")); p != nil || !errors.As(err, &fault) || fault.Missing != "refused" {
		t.Errorf("%+v, %v", p, err)
	}
}

// Without newuidmap, and where it gets no rights, there is one id.
func TestOneID(t *testing.T) {
	if os.Geteuid() == 0 {
		return // who needs neither
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ path, first, missing string }{
		{"/nothing", "", "newuidmap and newgidmap are not installed"},
		{os.Getenv("PATH"), "--no-new-privs", "newuidmap: "},
	} {
		cmd := exec.Command("/usr/bin/env", "PATH="+test.path, exe, "-test.run=^TestOneIDHere$", "-test.v")
		if test.first != "" {
			cmd = exec.Command("/usr/bin/setpriv", append([]string{test.first}, cmd.Args...)...)
		}
		cmd.Env = append(os.Environ(), "OAKUM_TEST_ONE="+test.missing)
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestOneIDHere") {
			t.Errorf("%s: %v\n%s", test.missing, err, out)
		}
	}
}

// TestOneIDHere is what TestOneID starts.
func TestOneIDHere(t *testing.T) {
	missing := os.Getenv("OAKUM_TEST_ONE")
	if missing == "" {
		return
	}
	p, err := Start(t.Context(), options(""))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	if p.Kind != OneID || len(p.Refused) != 1 || p.Refused[0].Lack != IDs || !strings.HasPrefix(p.Refused[0].Missing, missing) || p.Refused[0].Fix == "" {
		t.Errorf("%s, %+v", p.Kind, p.Refused)
	}
}

// The remedy is that of the machine.
func TestNamespaceFix(t *testing.T) {
	t.Parallel()
	const status, aa = "/proc/self/status", "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"
	for _, test := range []struct {
		errno syscall.Errno
		files map[string]string
		want  string
	}{
		{unix.EPERM, nil, "in a chroot the kernel makes none"},
		{unix.EPERM, map[string]string{"/proc/sys/kernel/unprivileged_userns_clone": "0\n", status: "a\nSeccomp:\t2\nb"}, "allow unprivileged user namespaces: sudo sysctl -w kernel.unprivileged_userns_clone=1"},
		{unix.EPERM, map[string]string{status: "a\nSeccomp:\t2\nb", aa: "1\n"}, "docker run --security-opt seccomp=unconfined"},
		{unix.EACCES, map[string]string{status: "a\nSeccomp:\t0\nb", aa: "1\n"}, "/etc/apparmor.d/oakum"},
		{unix.ENOSPC, map[string]string{"/proc/sys/user/max_user_namespaces": "0\n"}, "sudo sysctl -w user.max_user_namespaces=15000"},
		{unix.ENOSPC, nil, "raise the sysctls user.max_user_namespaces"},
		{unix.EINVAL, nil, "CONFIG_USER_NS"},
		{unix.ENOMEM, nil, ""},
	} {
		got := namespaceFix(test.errno, func(path string) string { return test.files[path] })
		if !strings.Contains(got, test.want) || test.want == "" && got != "" {
			t.Errorf("%v, %v: %q", test.errno, test.files, got)
		}
	}
	for _, test := range []struct {
		err  error
		aa   string
		want string
	}{{unix.EINVAL, "1", "do not run it in a chroot"}, {unix.EACCES, "1", `profile oakum "` + program() + `"`}, {unix.EPERM, "0", "seccomp=unconfined"}} {
		if got := mountFix(test.err, func(string) string { return test.aa }); !strings.Contains(got, test.want) {
			t.Errorf("%v: %q", test.err, got)
		}
	}
}
