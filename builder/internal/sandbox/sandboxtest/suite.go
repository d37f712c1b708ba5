//go:build linux

package sandboxtest

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/passwd"
	"github.com/oakum-build/oakum/builder/internal/sandbox"
)

// Test runs the suite.
func Test(t *testing.T, make New) {
	before := mountsHere(t)
	p := newPlace(t, make)
	i, err := p.sandbox.Isolation()
	ok(t, err)
	t.Run("found", func(t *testing.T) {
		for name, u := range users {
			r := p.report(t, u)
			t.Run(name, func(t *testing.T) { checkReport(t, r, i, name) })
		}
	})
	for name, test := range map[string]func(*testing.T, *place, sandbox.Isolation){
		"32-bit programs": test32Bit, "scope": testScope, "network files": testNetworkFiles, "network namespace": testNetworkNamespace, "no hosts": testNoHosts, "hostname": testHostname,
		"exit codes": testExitCodes, "no start": testNoStart, "busy": testBusy, "lookup": testLookup, "bytes": testBytes, "directory": testDirectory, "no directory": testNoDirectory,
		"standard files": testStdio, "terminal": testTerminal, "mounts": testMounts, "mount points": testMountPoints, "invalid": testInvalid,
		"users": testUsers, "set-user-ID": testSetUserID, "rest ends": testRestEnds, "cancel": testCancel, "cancelled before": testCancelledBefore,
		"killed": testKilled, "many at once": testMany, "same again": testSameAgain,
	} {
		p.test(t, i, name, test)
	}
	for name, test := range rightsTests {
		p.test(t, i, name, test)
	}
	for name, test := range hostileTests {
		p.test(t, i, name, test)
	}
	t.Run("nothing left", func(t *testing.T) { nothingLeft(t, p, before) })
}

// namespaced are the tests of what only namespaces and mounts can give, with the reason.
var namespaced = map[string]string{
	"hostname":          "the name of the machine is the caller's; another one is refused, as TestRefused of package thread says",
	"network namespace": "there is no /sys that would show its devices; that a namespace is refused is tested where it is",
	"same again":        "the numbers of processes are among what is found",
	"paths":             "a path is hidden by a mount; it is refused",
	"shm":               "the size of /dev/shm is that of a mount; it is refused",
}

// test runs a test of what the sandbox can give.
func (p *place) test(t *testing.T, i sandbox.Isolation, name string, test func(*testing.T, *place, sandbox.Isolation)) {
	switch _, only := namespaced[name]; {
	case only && p.sandbox.Fills(), !own(i, "pid") && !p.sandbox.Fills() && (name == "same again" || name == "paths" || name == "insecure"):
		return
	}
	t.Run(name, func(t *testing.T) { test(t, p, i) })
}

// own says whether each command has a namespace of its own.
func own(i sandbox.Isolation, namespace string) bool { return slices.Contains(i.Namespaces, namespace) }

var users = map[string]passwd.User{"root": root, "user": app}

// checkReport holds what a command found against the contract and what the sandbox claims.
func checkReport(t *testing.T, r Report, i sandbox.Isolation, user string) {
	for name, check := range map[string]func(*testing.T, Report, sandbox.Isolation, string){
		"status": checkStatus, "capabilities": checkCapabilities, "namespaces": checkNamespaces, "mounts": checkMounts, "devices": checkDevices,
		"paths": checkPaths, "calls": checkCalls, "descriptors": checkDescriptors, "session": checkSession, "limits": checkLimits, "surroundings": checkSurroundings,
	} {
		t.Run(name, func(t *testing.T) { check(t, r, i, user) })
	}
}

func checkStatus(t *testing.T, r Report, i sandbox.Isolation, user string) {
	want := map[string]string{"Uid": "0 0 0 0", "Gid": "0 0 0 0", "Groups": "0"}
	if user == "user" {
		want = map[string]string{"Uid": "1000 1000 1000 1000", "Gid": "1001 1001 1001 1001", "Groups": "1001 2000"}
	}
	// Set-user-ID programs work as they do in Docker's containers.
	maps.Copy(want, map[string]string{"SigBlk": strings.Repeat("0", 16), "SigIgn": strings.Repeat("0", 16), "NoNewPrivs": "0"})
	if i.NoNewPrivileges {
		want["NoNewPrivs"] = "1"
	}
	if i.Filter != "" {
		want["Seccomp"] = "2"
	}
	for name, value := range want {
		equal(t, name, r["status "+name], value)
	}
}

// checkCapabilities: nobody has inheritable or ambient ones (CVE-2022-29162), and a user none.
func checkCapabilities(t *testing.T, r Report, i sandbox.Isolation, user string) {
	var mask uint64
	for _, name := range i.Capabilities {
		bit := slices.Index(capabilityNames, strings.TrimPrefix(name, "CAP_"))
		if bit < 0 || !slices.Contains(dockerCapabilities, name) {
			t.Errorf("%s is none of Docker's", name)
			continue
		}
		mask |= 1 << bit
	}
	all, none := fmt.Sprintf("%016x", mask), fmt.Sprintf("%016x", 0)
	held := all
	if user != "root" {
		held = none
	}
	for set, want := range map[string]string{"CapInh": none, "CapPrm": held, "CapEff": held, "CapBnd": all, "CapAmb": none} {
		equal(t, set, r["status "+set], want)
	}
}

// capabilityNames are in the order of their bits (linux/capability.h).
var capabilityNames = strings.Fields(`CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
	NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE
	SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP`)

var dockerCapabilities = []string{
	"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP",
	"CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
}

func checkNamespaces(t *testing.T, r Report, i sandbox.Isolation, _ string) {
	for name, got := range r.named("namespace") {
		want := "the caller's"
		if slices.Contains(i.Namespaces, name) {
			want = "its own"
		}
		equal(t, name, got, want)
	}
}

// alwaysMounted are the mounts of every command, with the flags that each must have.
var alwaysMounted = map[string]string{
	"/": "rw,nodev", "/proc": "rw,nosuid,nodev,noexec", "/dev": "rw,nosuid,nodev", "/dev/pts": "rw,nosuid,noexec", "/dev/shm": "rw,nosuid,nodev,noexec",
	"/dev/mqueue": "rw,nosuid,nodev,noexec", "/sys": "ro,nosuid,nodev,noexec", "/etc/hosts": "rw,nosuid,nodev,noexec", "/etc/resolv.conf": "rw,nosuid,nodev,noexec",
}

// checkMounts wants these mounts, those that mask or protect what the sandbox claims, and
// no other: whatever else is mounted is the machine's.
func checkMounts(t *testing.T, r Report, i sandbox.Isolation, _ string) {
	if !own(i, "mnt") {
		return // nothing is mounted, which is looked at in the end
	}
	want := maps.Clone(alwaysMounted)
	for _, name := range i.Devices {
		want[name] = "ro,nosuid"
	}
	for _, name := range slices.Concat(i.Masked, i.ReadOnly) {
		if _, already := want[name]; !already && has(name) {
			want[name] = "" // how it is done is the sandbox's own; what it does is looked at elsewhere
		}
	}
	seen := map[string]bool{}
	for point, flags := range r.mounts() {
		at, _, twice := strings.Cut(point, " #")
		must, known := want[at]
		switch {
		case strings.HasPrefix(at, "/sys/") && !known:
			must, known = want["/sys"], true // what this machine has mounted there
		case twice && !strings.HasPrefix(at, "/sys/"):
			known = false
		}
		if !known {
			t.Errorf("mounted over %s: %q", point, flags)
		}
		seen[at] = true
		for flag := range strings.SplitSeq(must, ",") {
			if flag != "" && !slices.Contains(flags, flag) {
				t.Errorf("the mount over %s lacks %s: %q", point, flag, flags)
			}
		}
		if value := r["mount "+point]; strings.Contains(value, " shared ") {
			t.Errorf("the mount over %s is shared with others: %s", point, value)
		}
	}
	for point := range want {
		if !seen[point] {
			t.Errorf("nothing is mounted over %s", point)
		}
	}
}

// checkDevices: the machine's, with its numbers, and nothing else than Docker has in /dev.
func checkDevices(t *testing.T, r Report, i sandbox.Isolation, _ string) {
	want := map[string]string{
		"/dev/fd": `l .* /proc/self/fd`, "/dev/stdin": `l .* /proc/self/fd/0`, "/dev/stdout": `l .* /proc/self/fd/1`, "/dev/stderr": `l .* /proc/self/fd/2`,
		"/dev/ptmx": `l .* pts/ptmx`, "/dev/core": `l .* /proc/kcore`,
		"/dev/pts": `d 755 .*`, "/dev/shm": `d 1777 .*`, "/dev/mqueue": `d 1777 .*`, "/dev/pts/ptmx": `c 666 .* 5:2 `,
	}
	devices := []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}
	if !own(i, "mnt") {
		want["/dev/pts"] = `d 755 0:0 .*`
		for _, name := range []string{"/dev/ptmx", "/dev/pts/ptmx", "/dev/mqueue", "/dev/core"} {
			delete(want, name)
		}
		if devices = slices.DeleteFunc(devices, func(name string) bool { return !slices.Contains(i.Devices, name) }); len(devices) == 0 {
			want["/dev/null"] = `f 666 0:0 .*`
		}
	}
	for _, name := range i.Devices {
		var st unix.Stat_t
		ok(t, unix.Stat(name, &st))
		want[name] = fmt.Sprintf(`c %o .* %d:%d `, st.Mode&0o7777, unix.Major(st.Rdev), unix.Minor(st.Rdev))
	}
	for name, got := range r.named("entry") {
		if path.Dir(name) == "/" || strings.HasPrefix(name, "//") || !own(i, "mnt") && name == "/dev/mqueue" {
			continue
		}
		pattern, known := want[name]
		delete(want, name)
		if !known || !regexp.MustCompile("^"+pattern+"$").MatchString(got) {
			t.Errorf("%s is %q, want %q", name, got, pattern)
		}
	}
	delete(want, "/dev/core") // where the machine has no /proc/kcore
	for name := range want {
		t.Errorf("no %s", name)
	}
	for _, name := range devices {
		if got := r["access "+name]; !strings.HasSuffix(got, "written to: ok") {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// checkPaths: what is said to be masked shows nothing, and what is said to be read-only, and
// all that changes the machine, cannot be written to.
func checkPaths(t *testing.T, r Report, i sandbox.Isolation, user string) {
	access := r.named("access")
	for _, name := range i.Masked {
		if got := access[name]; !regexp.MustCompile(`^(ENOENT|(empty|EACCES|EPERM),.*)$`).MatchString(got) {
			t.Errorf("%s, which is masked: %q", name, got)
		}
	}
	for name, got := range access {
		readOnly := slices.ContainsFunc(append([]string{"/proc/sys", "/sys"}, i.ReadOnly...), func(p string) bool { return name == p || strings.HasPrefix(name, p+"/") })
		// Without a mount, a directory is one that was made for the command alone.
		made := !own(i, "mnt") && (strings.HasPrefix(got, "entries,") || strings.HasPrefix(got, "empty,"))
		if readOnly && !made && strings.HasSuffix(got, "written to: ok") {
			t.Errorf("%s, which is read-only: %q", name, got)
		}
	}
	// In a sticky /dev a device of another owner could not be opened to be written to.
	if got := r["entry //dev"]; !strings.HasPrefix(got, "d 755 0:0 ") {
		t.Errorf("/dev: %q", got)
	}
	for name, want := range map[string]string{"/etc/hosts": "data", "/etc/resolv.conf": "data", "/tmp": "empty"} {
		writable := user == "root" || name == "/tmp"
		if got := access[name]; !strings.HasPrefix(got, want+",") || strings.HasSuffix(got, "written to: ok") != writable {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// kernels says whether the kernel itself refuses a call with EPERM that Docker's profile lets
// through: packets of the machine's network to who is no root of the machine, and what only a
// capability allows.
func kernels(call, user string) bool {
	return strings.HasPrefix(call, "socket,17,") || call == "landlock_restrict_self" || call == "setgroups" && user == "user"
}

// checkCalls holds each system call, and the classes of arguments, against Docker's profile.
func checkCalls(t *testing.T, r Report, i sandbox.Isolation, user string) {
	if i.Filter != "docker" {
		t.Fatalf("a filter that is not known here: %q", i.Filter)
	}
	profile := dockerPolicy(t, i.Capabilities)
	calls := r.named("call")
	if len(calls) < 250 {
		t.Errorf("only %d calls were tried", len(calls))
	}
	for call, got := range calls {
		name, _ := parseCall(call)
		refused := profile.refuses(call)
		switch {
		case refused == "" && got == "EPERM" && !kernels(call, user):
			t.Errorf("%s is refused, and Docker lets it through", call)
		case refused != "" && got != refused && !(got == "ENOSYS" && !profile.knows(name)):
			t.Errorf("%s gives %s, and Docker refuses it with %s", call, got, refused)
		}
	}
}

func checkDescriptors(t *testing.T, r Report, _ sandbox.Isolation, _ string) {
	for n, got := range r.named("descriptor") {
		if fd, err := strconv.Atoi(n); err != nil || fd > 2 {
			t.Errorf("descriptor %s leaked into the command: %s", n, got)
		}
	}
}

// checkSession: the command is the first process, and sees no other.
func checkSession(t *testing.T, r Report, i sandbox.Isolation, _ string) {
	first, parent := "1", "0"
	if !own(i, "pid") {
		first, parent = r["self pid"], strconv.Itoa(os.Getpid())
	}
	want := map[string]string{"pid": first, "ppid": parent, "sid": first, "pgid": first}
	for name, value := range want {
		equal(t, name, r["self "+name], value)
	}
	for pid := range r.named("process") {
		if pid != first && !(own(i, "mnt") && !own(i, "pid")) { // who has the mounts of another's /proc sees it
			t.Errorf("process %s can be seen", pid)
		}
	}
	for _, line := range r.named("keys") {
		t.Errorf("a key can be seen: %s", line)
	}
}

// checkLimits: those of whoever builds, which a Go program changes for itself alone.
func checkLimits(t *testing.T, r Report, _ sandbox.Isolation, _ string) {
	data, err := exec.Command(busybox, "cat", "/proc/self/limits").Output()
	ok(t, err)
	count := 0
	for line := range strings.Lines(string(data)) {
		name, want, isLimit := limit(line)
		if !isLimit {
			continue
		}
		count++
		equal(t, name, r["limit "+name], want)
	}
	if count < 16 {
		t.Errorf("only %d limits", count)
	}
	// No cgroup is made, for a caller that is killed could not remove it.
	cgroups, err := os.ReadFile("/proc/self/cgroup")
	ok(t, err)
	for n, line := range strings.Split(strings.TrimSpace(string(cgroups)), "\n") {
		equal(t, "cgroup", r[fmt.Sprintf("cgroup %03d", n)], line)
	}
	score, err := os.ReadFile("/proc/self/oom_score_adj")
	ok(t, err)
	equal(t, "oom score", r["oom score 000"], strings.TrimSpace(string(score)))
}

func checkSurroundings(t *testing.T, r Report, i sandbox.Isolation, user string) {
	host := hostname(t, i)
	for name, want := range map[string]string{
		"self umask": "0022", "self personality": "0", "self dir": "/", "self terminal": "none 0x0, foreground none",
		"uts nodename": host, "environment 000": "PATH=/bin", "environment 001": "A=1", "environment 002": "HOME=/root", "environment 003": "",
		"hosts 000": "127.0.0.1 localhost", "hosts 001": "127.0.1.1 " + host, "resolv 000": "nameserver 192.0.2.1",
	} {
		equal(t, name, r[name], want)
	}
	for name := range r.named("entry") {
		if strings.HasPrefix(name, "//") && !slices.Contains([]string{"//bin", "//tmp", "//etc", "//dev", "//proc", "//sys"}, name) {
			t.Errorf("%s is in the root file system", name[1:])
		}
	}
}

// hostname is the name of the machine as commands see it that ask for none.
func hostname(t *testing.T, i sandbox.Isolation) string {
	if own(i, "uts") {
		return sandbox.DefaultHostname
	}
	name, err := os.Hostname()
	ok(t, err)
	return name
}

func test32Bit(t *testing.T, p *place, i sandbox.Isolation) {
	if runtime.GOARCH != "amd64" {
		return
	}
	probe := func(wide bool, args ...string) string {
		c := p.command(append([]string{"/bin/probe"}, args...)...)
		c.Root.I386 = wide
		return p.output(t, c)
	}
	const refused = "i386 20\tSIGSYS\n"
	equal(t, "getpid", probe(false, "i386", "20"), refused)
	equal(t, "x32", probe(false, "x32", "39")+probe(true, "x32", "39"), strings.Repeat("x32 39\tSIGSYS\n", 2))
	// Both ways to a socket; docs of the families are in policy.go.
	wide := "i386 20\tok\ni386 359,2,1\tok\ni386 359,40,1\tEPERM\ni386 359,38,5\tEPERM\n"
	equal(t, "i386", probe(true, "i386", "20", "359,2,1", "359,40,1", "359,38,5"), wide)
	equal(t, "socketcall", probe(true, "i386-socketcall", "2,1", "40,1", "38,5"), "i386-socketcall 2,1\tEPERM\ni386-socketcall 40,1\tEPERM\ni386-socketcall 38,5\tEPERM\n")
	// A root file system that has 32-bit programs can run them, unless it only seems so.
	ok(t, os.MkdirAll(p.root+"/lib", 0o755))
	defer os.RemoveAll(p.root + "/lib")
	ok(t, os.WriteFile(p.root+"/lib/ld-linux.so.2", nil, 0o755))
	equal(t, "with a linker", probe(false, "i386", "20"), "i386 20\tok\n")
	ok(t, os.Remove(p.root+"/lib/ld-linux.so.2"))
	ok(t, os.Symlink("/bin/none", p.root+"/lib/ld-linux.so.2"))
	equal(t, "with a dead link", probe(false, "i386", "20"), refused)
	ok(t, os.Remove(p.root+"/lib/ld-linux.so.2"))
	ok(t, os.Symlink("../../../../../../../.."+busybox, p.root+"/lib/ld-linux.so.2"))
	ok(t, os.Rename(p.root+"/bin/busybox", p.root+"/bin/other"))
	defer func() { ok(t, os.Rename(p.root+"/bin/other", p.root+"/bin/busybox")) }()
	equal(t, "with a link out", probe(false, "i386", "20"), refused)
}

// Benchmark times a command that does nothing.
func Benchmark(b *testing.B, make New) {
	p := newPlace(b, make)
	c := p.command("/bin/busybox", "true")
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	ok(b, err)
	defer null.Close()
	c.Stdio = sandbox.Stdio{In: null, Out: null, Err: null}
	for b.Loop() {
		if code, err := p.sandbox.Run(b.Context(), c); err != nil || code != 0 {
			b.Fatalf("status %d, %v", code, err)
		}
	}
}
