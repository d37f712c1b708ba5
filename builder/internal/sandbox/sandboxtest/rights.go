//go:build linux

package sandboxtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/sandbox"
	"github.com/oakum-build/oakum/builder/isolation"
)

// rightsTests are of what a command may be given beside what each has.
var rightsTests = map[string]func(*testing.T, *place, sandbox.Isolation){
	"capabilities": testCapabilities, "filter": testFilter, "no new privileges": testNoNewPrivileges, "paths": testPaths, "insecure": testInsecure,
	"ulimits": testUlimits, "shm": testShm, "devices": testDevices, "tmpfs": testTmpfs, "security modules": testModules,
	"many mounts": testManyMounts, "control group": testCgroup,
}

// script is a script of root's with rights.
func (p *place) script(s isolation.Security, text string) sandbox.Command {
	c := p.command("/bin/sh", "-c", text)
	c.Security = s
	return c
}

// refused wants a command not to be run: because it makes no sense, or because of the machine.
func (p *place) refused(t *testing.T, what string, c sandbox.Command, byHost bool) {
	t.Helper()
	c.Process.Args = []string{"/bin/sh", "-c", "busybox touch /tmp/ran"}
	defer os.Remove(p.root + "/tmp/ran")
	_, code, err := p.run(t.Context(), t, c)
	var host *sandbox.HostError
	if byHost != errors.As(err, &host) || byHost == errors.Is(err, errdefs.ErrInvalid) || exists(p.root+"/tmp/ran") {
		t.Errorf("%s: status %d, %v", what, code, err)
	}
	if byHost && host != nil && (host.Missing == "" || host.Fix() == "") {
		t.Errorf("%s: nothing says what to do: %+v", what, host)
	}
}

// testCapabilities: what is added and dropped is so for root, and bounds what others may gain.
func testCapabilities(t *testing.T, p *place, i sandbox.Isolation) {
	held := func(s isolation.Security) string {
		return p.output(t, p.script(s, "busybox grep -e CapInh -e CapPrm -e CapEff -e CapBnd -e CapAmb /proc/self/status | busybox cut -f 2 | busybox tr '\n' ' '"))
	}
	want := func(names ...string) string {
		mask := capabilityMask(names)
		return fmt.Sprintf("%016x %016x %016x %016x %016x ", 0, mask, mask, mask, 0)
	}
	less := slices.DeleteFunc(slices.Clone(i.Capabilities), func(name string) bool { return name == "CAP_KILL" })
	equal(t, "dropped", held(isolation.Security{Drop: []string{"kill"}}), want(less...))
	equal(t, "none", held(isolation.Security{Drop: []string{"ALL"}}), want())
	equal(t, "one", held(isolation.Security{Drop: []string{"all"}, Add: []string{"cap_chown"}}), want("CAP_CHOWN"))
	// Whoever makes the namespaces has CAP_SYS_ADMIN, and may give it.
	if i.NoNewPrivileges || p.sandbox.Fills() { // a caller without it, or a way out
		p.refused(t, "what the caller does not have", p.script(isolation.Security{Add: []string{"SYS_ADMIN"}}, ""), true)
	} else {
		equal(t, "added", held(isolation.Security{Add: []string{"SYS_ADMIN"}}), want(append(slices.Clone(i.Capabilities), "CAP_SYS_ADMIN")...))
		c := p.script(isolation.Security{Add: []string{"SYS_ADMIN"}}, "busybox grep -e CapPrm -e CapEff /proc/self/status | busybox cut -f 2 | busybox tr '\n' ' '")
		c.Process.User = app
		equal(t, "another user's", p.output(t, c), strings.Repeat(fmt.Sprintf("%016x ", 0), 2))
	}
	if p.sandbox.Fills() {
		for _, name := range waysOut {
			p.refused(t, "a way out", p.script(isolation.Security{Add: []string{name}}, ""), true)
		}
	}
	p.refused(t, "no capability", p.script(isolation.Security{Add: []string{"EVERYTHING"}}, ""), false)
	p.refused(t, "all and none", p.script(isolation.Security{Add: []string{"all"}, Drop: []string{"all"}}, ""), false)
}

// waysOut are capabilities that no command has which nothing but a root directory of its own keeps apart.
var waysOut = []string{"CAP_DAC_READ_SEARCH", "CAP_MKNOD", "CAP_SYS_ADMIN", "CAP_SYS_CHROOT", "CAP_SYS_MODULE", "CAP_SYS_PTRACE", "CAP_SYS_RAWIO"}

func capabilityMask(names []string) (mask uint64) {
	for _, name := range names {
		mask |= 1 << slices.Index(isolation.AllCapabilities(), name)
	}
	return mask
}

// testFilter: Docker's filter goes with the capabilities, one of the user's own holds, and none is none.
func testFilter(t *testing.T, p *place, i sandbox.Isolation) {
	calls := func(s isolation.Security, calls ...string) string {
		c := p.command(append([]string{"/bin/probe", "calls"}, calls...)...)
		c.Security = s
		return strings.ReplaceAll(strings.ReplaceAll(p.output(t, c), "call ", ""), "\n", " ")
	}
	equal(t, "of Docker", calls(isolation.Security{}, "umount2,0,0", "bpf,99,0,0"), "umount2,0,0\tEPERM bpf,99,0,0\tEPERM ")
	umount := "EPERM" // by the caller's own filter, or for want of the capability
	if !i.NoNewPrivileges {
		umount = "EFAULT"
	}
	if !i.NoNewPrivileges && !p.sandbox.Fills() {
		equal(t, "with CAP_SYS_ADMIN", calls(isolation.Security{Add: []string{"sys_admin"}}, "umount2,0,0"), "umount2,0,0\tEFAULT ")
	}
	equal(t, "without CAP_SYS_CHROOT", calls(isolation.Security{Drop: []string{"sys_chroot"}}, "chroot,0"), "chroot,0\tEPERM ")
	const own = `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["sysinfo"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
		{"names": ["personality"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]}]}`
	equal(t, "one's own", calls(isolation.Security{Seccomp: own}, "sysinfo,0", "personality,8", "personality,0xffffffff", "umount2,0,0"),
		"sysinfo,0\tENOSYS personality,8\tEPERM personality,0xffffffff\tok umount2,0,0\t"+umount+" ")
	const mode = "busybox grep Seccomp: /proc/self/status | busybox cut -f 2"
	if !p.sandbox.Fills() { // which has a filter for /proc
		equal(t, "unconfined", p.output(t, p.script(isolation.Security{Seccomp: isolation.Unconfined}, mode)), "0\n")
	}
	equal(t, "another user's", p.output(t, p.userScript(isolation.Security{Seccomp: own, NoNewPrivileges: true}, mode)), "2\n")
	for _, text := range []string{"{}", "null", own + "x", strings.ReplaceAll(own, "sysinfo", "sysinf"), strings.ReplaceAll(own, "CMP_EQ", "CMP_ABOUT")} {
		p.refused(t, text, p.script(isolation.Security{Seccomp: text}, ""), false)
	}
}

// userScript is a script of another user's with rights.
func (p *place) userScript(s isolation.Security, text string) sandbox.Command {
	c := p.script(s, text)
	c.Process.User = app
	return c
}

func testNoNewPrivileges(t *testing.T, p *place, _ sandbox.Isolation) {
	copyFile(t, p.root+"/bin/probe", p.root+"/bin/suid")
	defer os.Remove(p.root + "/bin/suid")
	ok(t, os.Chmod(p.root+"/bin/suid", 0o755|os.ModeSetuid))
	c := p.command("/bin/suid", "ids")
	c.Process.User, c.Security.NoNewPrivileges = app, true
	equal(t, "a set-user-ID program's ids", p.output(t, c), "1000:1001\n") // without it, root's: testSetUserID
	equal(t, "status", p.output(t, p.script(isolation.Security{NoNewPrivileges: true}, "busybox grep NoNewPrivs /proc/self/status")), "NoNewPrivs:\t1\n")
}

// testPaths: further paths are hidden, also such that are not there, and others are not.
func testPaths(t *testing.T, p *place, i sandbox.Isolation) {
	ok(t, os.MkdirAll(p.root+"/tmp/hidden/below", 0o755))
	defer os.RemoveAll(p.root + "/tmp/hidden")
	ok(t, os.WriteFile(p.root+"/tmp/file", []byte("text\n"), 0o666))
	defer os.Remove(p.root + "/tmp/file")
	s := isolation.Security{Mask: []string{"/tmp/hidden", "/tmp/file", "/tmp/none"}}
	equal(t, "hidden", p.output(t, p.script(s, "busybox ls -A /tmp/hidden; busybox cat /tmp/file; (echo >/tmp/hidden/new) 2>/dev/null || echo refused")), "refused\n")
	equal(t, "the root file system", p.sh(t, "busybox ls /tmp/hidden; busybox cat /tmp/file; busybox ls -d /tmp/none 2>/dev/null; true"), "below\ntext\n")
	const mounted = "busybox cut -d ' ' -f 5 /proc/self/mountinfo"
	points := func(s isolation.Security) []string { return strings.Fields(p.output(t, p.script(s, mounted))) }
	usual := points(isolation.Security{})
	one := points(isolation.Security{Unmask: []string{"/proc/sys"}})
	if !slices.Contains(usual, "/proc/sys") || slices.Contains(one, "/proc/sys") || len(one) != len(usual)-1 {
		t.Errorf("mounted over %q, and usually %q", one, usual)
	}
	for _, point := range points(isolation.Security{Unmask: []string{"ALL"}}) {
		if slices.Contains(i.Masked, point) || point != "/sys" && slices.Contains(i.ReadOnly, point) {
			t.Errorf("mounted over %s", point)
		}
	}
	p.refused(t, "no path", p.script(isolation.Security{Mask: []string{"tmp"}}, ""), false)
}

// testInsecure: all rights that the caller has, but nothing of the machine that it does not.
func testInsecure(t *testing.T, p *place, i sandbox.Isolation) {
	s := isolation.Security{Insecure: true}
	if p.sandbox.Fills() { // all rights that do not lead out of the root directory
		// Without any filter, nothing can be answered about /proc where the caller has few rights.
		got := p.output(t, p.script(s, "(busybox grep -e CapEff -e CapBnd /proc/self/status 2>/dev/null || printf '\\t0\\n\\t0\\n') | busybox cut -f 2; busybox mount -t tmpfs none /tmp 2>/dev/null; busybox chroot / busybox true 2>/dev/null; echo $?"))
		var effective, bounding uint64
		var status int
		if _, err := fmt.Sscanf(got, "%x\n%x\n%d\n", &effective, &bounding, &status); err != nil || effective&capabilityMask(waysOut) != 0 || bounding&^effective != 0 || status == 0 {
			t.Errorf("capabilities and what comes of chroot: %s, %v", got, err)
		}
		if mountsHere(t)[p.root+"/tmp"] > 0 {
			t.Error("it has mounted something")
		}
		return
	}
	equal(t, "filter", p.output(t, p.script(s, "busybox grep Seccomp: /proc/self/status | busybox cut -f 2")), "0\n")
	equal(t, "mounting", p.output(t, p.script(s, "busybox mount -t tmpfs none /tmp && : >/tmp/there && busybox ls /tmp && busybox umount /tmp")), "there\n")
	got, err := strconv.ParseUint(strings.TrimSpace(p.output(t, p.script(s, "busybox grep CapEff /proc/self/status | busybox cut -f 2"))), 16, 64)
	ok(t, err)
	if usual := capabilityMask(i.Capabilities); got&usual != usual || got == usual || got&(1<<unix.CAP_SYS_ADMIN) == 0 {
		t.Errorf("capabilities: %x, and usually %x", got, usual)
	}
	for point := range strings.FieldsSeq(p.output(t, p.script(s, "busybox cut -d ' ' -f 5 /proc/self/mountinfo"))) {
		if slices.Contains(i.Masked, point) || point != "/sys" && slices.Contains(i.ReadOnly, point) {
			t.Errorf("mounted over %s", point)
		}
	}
	less := s
	less.Drop = []string{"SYS_ADMIN"}
	if out, code, err := p.run(t.Context(), t, p.script(less, "busybox mount -t tmpfs none /tmp")); code == 0 {
		t.Errorf("mounting without CAP_SYS_ADMIN: %s, %v", out, err)
	}
}

func testUlimits(t *testing.T, p *place, _ sandbox.Isolation) {
	limited := func(list ...isolation.Ulimit) sandbox.Command {
		c := p.script(isolation.Security{}, "ulimit -S -n; ulimit -H -n; ulimit -S -c; ulimit -H -c")
		c.Limits.Ulimits = list
		return c
	}
	list := []isolation.Ulimit{{Name: "nofile", Soft: 99, Hard: 222}, {Name: "core", Soft: 0, Hard: 0}}
	equal(t, "limits", p.output(t, limited(list...)), "99\n222\n0\n0\n")
	c := limited(list...)
	c.Process.User = app
	equal(t, "another user's", p.output(t, c), "99\n222\n0\n0\n")
	var own unix.Rlimit
	ok(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &own))
	equal(t, "as much as the caller", strings.Split(p.output(t, limited(isolation.Ulimit{Name: "nofile", Soft: 99, Hard: int64(own.Max)})), "\n")[1], strconv.FormatUint(own.Max, 10))
	p.refused(t, "more than the machine", limited(isolation.Ulimit{Name: "nofile", Soft: -1, Hard: -1}), true)
	p.refused(t, "no limit", limited(isolation.Ulimit{Name: "files", Soft: 1, Hard: 1}), false)
	p.refused(t, "soft above hard", limited(isolation.Ulimit{Name: "nofile", Soft: 2, Hard: 1}), false)
}

func testShm(t *testing.T, p *place, _ sandbox.Isolation) {
	size := func(limits isolation.Limits) string {
		c := p.script(isolation.Security{}, "busybox df -k /dev/shm | busybox tail -n 1 | busybox awk '{print $2}'")
		c.Limits = limits
		return p.output(t, c)
	}
	equal(t, "usually", size(isolation.Limits{}), "65536\n")
	equal(t, "asked for", size(isolation.Limits{ShmSize: 1 << 20}), "1024\n")
}

// testDevices: the very device, at its place, also outside /dev, and nothing that is none.
func testDevices(t *testing.T, p *place, i sandbox.Isolation) {
	with := func(text string, devices ...sandbox.Device) sandbox.Command {
		c := p.script(isolation.Security{}, text)
		c.Devices = devices
		return c
	}
	c := with("busybox stat -c '%t:%T' /dev/more /tmp/zero; echo x >/dev/more; busybox head -c 2 /tmp/zero | busybox od -An -tx1; busybox chmod 666 /dev/more 2>/dev/more || echo refused",
		sandbox.Device{Path: "/dev/null", Target: "/dev/more"}, sandbox.Device{Path: "/dev/zero", Target: "/tmp/zero"})
	points := p.sandbox.MountPoints(c)
	if !slices.Contains(points, "/tmp/zero") || slices.Contains(points, "/dev/more") {
		t.Errorf("mount points: %q", points)
	}
	if !own(i, "mnt") && unix.Mknod(filepath.Join(t.TempDir(), "node"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) != nil {
		p.refused(t, "where no node can be made", c, true)
		return
	}
	p.makePoints(t, c)
	defer os.Remove(p.root + "/tmp/zero")
	refused := "refused\n"
	if !own(i, "mnt") {
		refused = "" // the node is the command's own
	}
	equal(t, "devices", p.output(t, c), "1:3\n1:5\n 00 00\n"+refused)
	c.Process.User = app
	equal(t, "another user's", p.output(t, c), "1:3\n1:5\n 00 00\nrefused\n")
	dir := filepath.Dir(p.root)
	ok(t, os.Symlink("/dev/null", dir+"/link"))
	ok(t, os.WriteFile(dir+"/file", nil, 0o644))
	for what, d := range map[string]sandbox.Device{
		"a link": {Path: dir + "/link", Target: "/dev/a"}, "a file": {Path: dir + "/file", Target: "/dev/a"}, "a directory": {Path: "/dev", Target: "/dev/a"}, "no path": {Path: "null", Target: "/dev/a"},
		"in /proc": {Path: "/dev/null", Target: "/proc/kcore"}, "over a file of /dev": {Path: "/dev/null", Target: "/dev/stdin"},
	} {
		p.refused(t, what, with("", d), false)
	}
	p.refused(t, "none", with("", sandbox.Device{Path: "/dev/no-such-device", Target: "/dev/a"}), true)
}

func testTmpfs(t *testing.T, p *place, i sandbox.Isolation) {
	script, want, count := `busybox stat -c %a /tmp/a /tmp/b /dev/c; [ -e /tmp/a/f ] || [ -e /dev/c/f ] || echo empty; echo x >/tmp/a/f && busybox cat /tmp/a/f`, "1777\n750\n1755\nempty\nx\n", "0\n"
	if own(i, "mnt") {
		script += `
busybox df -k /tmp/b | busybox tail -n 1 | busybox awk '{print $2}'
(echo x >/dev/c/f) 2>/dev/null || echo refused; busybox grep ' /tmp/a ' /proc/self/mountinfo | busybox cut -d ' ' -f 6 | busybox sed 's/,relatime//'`
		want, count = want+"1024\nrefused\nrw,nosuid,nodev\n", "1\n"
	}
	c := p.script(isolation.Security{}, script)
	c.Mounts = []sandbox.Mount{
		{Kind: sandbox.Tmpfs, Target: "/tmp/a"}, {Kind: sandbox.Tmpfs, Target: "/tmp/b/", Size: 1 << 20, Mode: 0o750}, {Kind: sandbox.Tmpfs, Target: "/dev/c", Mode: os.ModeSticky | 0o755, ReadOnly: true},
	}
	p.makePoints(t, c)
	for range 2 { // what is in them is lost
		equal(t, "tmpfs", p.output(t, c), want)
	}
	source := filepath.Join(filepath.Dir(p.root), "source")
	ok(t, os.WriteFile(source, []byte("y\n"), 0o644))
	defer os.Remove(source)
	c.Mounts = append(c.Mounts, sandbox.Mount{Kind: sandbox.Tmpfs, Target: "/tmp/a/in/it"}, sandbox.Mount{Kind: sandbox.BindFile, Source: source, Target: "/tmp/b/f"})
	c.Process.Args[len(c.Process.Args)-1] = `busybox cat /tmp/b/f; busybox ls -d /tmp/a/in/it; busybox grep -c ' /tmp/a/in/it ' /proc/self/mountinfo; true`
	equal(t, "mounts in a tmpfs", p.output(t, c), "y\n/tmp/a/in/it\n"+count)
	ok(t, os.Remove(p.root+"/tmp/a")) // empty
	ok(t, os.Remove(p.root+"/tmp/b"))
}

// testModules: where the machine has no such security module, a name is refused.
func testModules(t *testing.T, p *place, _ sandbox.Isolation) {
	equal(t, "none", p.output(t, p.script(isolation.Security{AppArmor: isolation.Unconfined, Label: []string{"disable"}}, "echo ran")), "ran\n")
	if !has("/sys/module/apparmor") {
		p.refused(t, "AppArmor", p.script(isolation.Security{AppArmor: "docker-default"}, ""), true)
	}
	if !has("/sys/fs/selinux/enforce") {
		p.refused(t, "SELinux", p.script(isolation.Security{Label: []string{"type:spc_t"}}, ""), true)
	}
}

// testManyMounts: what is too much for a message to the first process is no overflow of it
// (CVE-2021-43784): all is mounted, or a clear error.
func testManyMounts(t *testing.T, p *place, i sandbox.Isolation) {
	source := filepath.Join(filepath.Dir(p.root), "source")
	ok(t, os.WriteFile(source, []byte("x\n"), 0o644))
	defer os.Remove(source)
	deep := "/tmp/" + strings.Repeat(strings.Repeat("d", 200)+"/", 15)
	c := p.command("/bin/sh", "-c", "busybox grep -c ddd /proc/self/mountinfo")
	if !own(i, "mnt") {
		c.Process.Args[2] = `busybox find /tmp/d* -type f | busybox xargs busybox cat | busybox grep -c x`
	}
	for n := range 200 {
		c.Mounts = append(c.Mounts, sandbox.Mount{Kind: sandbox.BindFile, Source: source, Target: deep + strconv.Itoa(n)})
	}
	p.makePoints(t, c)
	defer os.RemoveAll(p.root + "/tmp/" + strings.Repeat("d", 200))
	if out, code, err := p.run(t.Context(), t, c); err == nil && (code != 0 || out != "200\n") {
		t.Errorf("status %d, %q", code, out)
	}
}
