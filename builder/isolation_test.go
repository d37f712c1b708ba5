//go:build linux

package builder_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/isolation"
)

// dockerCaps is the mask of the capabilities that Docker gives a container by default.
const dockerCaps = "00000000a80425fb"

func TestCapabilities(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	const none = "0000000000000000"
	usual := dockerCaps
	if inChroot {
		usual = "00000000a00025fb" // without those for other root directories and devices
		if ofTheMachine(t) {
			usual = "00000000a00005fb" // and over its network
		}
	}
	for user, want := range map[string]string{
		"":     "CapInh:\t" + none + "\nCapPrm:\t" + usual + "\nCapEff:\t" + usual + "\nCapBnd:\t" + usual + "\nCapAmb:\t" + none + "\n",
		"1000": "CapInh:\t" + none + "\nCapPrm:\t" + none + "\nCapEff:\t" + none + "\nCapBnd:\t" + usual + "\nCapAmb:\t" + none + "\n",
	} {
		equal(t, output(t, s, builder.Cmd{Args: []string{"/bin/grep", "^Cap", "/proc/self/status"}, User: user, Ephemeral: true}), want)
	}
}

func TestSeccomp(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	equal(t, sh(t, s, "grep ^Seccomp: /proc/self/status"), "Seccomp:\t2\n")
	// The filter, not a lack of rights, refuses a new user namespace and mounts.
	equal(t, sh(t, s, "unshare -U true 2>&1; mount -t tmpfs none /tmp 2>&1; true"),
		"unshare: unshare(0x10000000): Operation not permitted\nmount: permission denied (are you root?)\n")
}

// The families that lead to the hypervisor (40) and to the kernel's own ciphers (38) are
// out of reach however a program asks for them.
func TestSocketFamilies(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := probed(t, b)
	const refused = "Operation not permitted\n"
	equal(t, sh(t, s, "for f in 40 38; do for t in 1 2 5; do probe socket $f $t; probe socket-wide $f $t; done; done"), strings.Repeat(refused, 12))
	equal(t, sh(t, s, "probe socket 2 1; probe socket 2 2; probe socket 1 1; probe socket 10 1; probe socket 16 3; probe socket 39 1"),
		strings.Repeat("ok\n", 5)+"Address family not supported by protocol\n")
	if runtime.GOARCH != "amd64" {
		return
	}
	// 32-bit programs, and their way to hide the family in memory.
	equal(t, sh(t, s, "probe i386-getpid; echo $?; probe x32-getpid; echo $?"), "Bad system call\n159\nBad system call\n159\n")
	const i386 = "probe i386-getpid; probe i386-socket 2 1; for f in 2 40 38; do probe i386-socketcall $f 1; done; probe i386-socket 40 1; probe i386-socket 38 5; probe x32-getpid; echo $?"
	want := "ok\nok\n" + strings.Repeat(refused, 5) + "Bad system call\n159\n"
	run(t, s, "mkdir /lib && touch /lib/ld-linux.so.2")
	equal(t, sh(t, s, i386), want)
	run(t, s, "rm /lib/ld-linux.so.2 && ln -s /none /lib/ld-linux.so.2")
	equal(t, sh(t, s, "probe i386-getpid; echo $?"), "Bad system call\n159\n")
	old := stage(t, b, builder.Scratch, builder.StageOptions{Platform: "linux/386"})
	ok(t, errOf(old.Copy(t.Context(), "/", s.Path("/"))))
	equal(t, sh(t, old, i386), want)
}

// What a process must not see or write of the machine.
func TestMaskedPaths(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	got := sh(t, s, `
for f in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts /proc/kmsg /proc/kpagecount /proc/kpageflags /proc/slabinfo /proc/vmallocinfo /proc/pagetypeinfo; do [ ! -e $f ] || [ -z "$(head -c 1 $f 2>/dev/null)" ] || echo "$f is readable"; done
for d in /sys/firmware /proc/acpi /proc/scsi; do [ -z "$(ls $d 2>/dev/null)" ] || echo "$d is not empty"; done
for f in /proc/sys/kernel/domainname /proc/sysrq-trigger /proc/irq/default_smp_affinity; do (: >>$f) 2>/dev/null && echo "$f can be written"; done
(mkdir /sys/fs/cgroup/oakum-test) 2>/dev/null && echo "a cgroup can be made"
find /sys/fs/cgroup -maxdepth 2 -type d -writable 2>/dev/null
awk '$2 ~ /^\/(sys|proc\/sys)$/ && $4 !~ /(^|,)ro(,|$)/' /proc/mounts
true`)
	equal(t, got, "")
}

func TestSandboxSurroundings(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	equal(t, sh(t, s, "hostname; cat /proc/1/comm; echo $$; ls /dev | grep -v core | sort | tr '\\n' ' '"),
		"oakum\nsh\n1\nfd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero ")
	equal(t, sh(t, s, "umask; ulimit -n >/dev/null && echo text >/dev/null && head -c 4 /dev/zero | wc -c; ls -ld /dev/shm | cut -c 1-10; grep -c oakum /etc/hosts"),
		"0022\n4\ndrwxrwxrwt\n1\n")
	resolv, err := os.ReadFile("/etc/resolv.conf")
	if err == nil {
		equal(t, sh(t, s, "cat /etc/resolv.conf"), string(resolv))
	}
	// Another user may use the devices too.
	equal(t, output(t, s, builder.Cmd{Args: []string{"/bin/sh", "-c", "echo x >/dev/null && head -c 1 /dev/urandom | wc -c"}, User: "app", Ephemeral: true}), "1\n")
	// Nothing of the host is mounted.
	for line := range strings.Lines(sh(t, s, "cat /proc/mounts")) {
		point := strings.Fields(line)[1]
		if !regexp.MustCompile(`^/($|proc|sys|dev|etc/hosts$|etc/resolv\.conf$)`).MatchString(point) {
			t.Errorf("mounted: %s", line)
		}
	}
}

// probed is a stage with busybox and the probe of testdata.
func probed(t testing.TB, b *builder.Builder) *builder.Stage {
	t.Helper()
	program := filepath.Join(t.TempDir(), "probe")
	out, err := exec.Command("gcc", "-Wall", "-static", "-o", program, "testdata/probe.c").CombinedOutput()
	if err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	s := base(t, b)
	ok(t, errOf(s.Copy(t.Context(), "/bin/", builder.Dir(filepath.Dir(program)))))
	return s
}

// Every mount takes away what its files must not do, and every device stays what it is,
// as root of the machine too.
func TestMountFlags(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	must := map[string]string{
		"/": "nodev", "/proc": "nosuid,nodev,noexec", "/dev": "nosuid,nodev", "/dev/pts": "nosuid,noexec",
		"/dev/shm": "nosuid,nodev,noexec", "/dev/mqueue": "nosuid,nodev,noexec", "/sys": "ro,nosuid,nodev,noexec",
		"/etc/hosts": "nosuid,nodev,noexec", "/etc/resolv.conf": "nosuid,nodev,noexec", "/dev/pipes": "ro,nosuid,nodev",
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		must["/dev/"+name] = "ro,nosuid"
	}
	seen := map[string]bool{}
	mounts := output(t, s, builder.Cmd{Args: []string{"/bin/cat", "/proc/mounts"}, Files: map[string]string{"f": ""}, Ephemeral: true})
	for line := range strings.Lines(mounts) {
		fields := strings.Fields(line)
		flags := strings.Split(fields[3], ",")
		want := must[fields[1]]
		if strings.HasPrefix(fields[1], "/sys/") && fields[0] != "tmpfs" {
			want = must["/sys"] // whatever this machine has mounted there
		}
		seen[fields[1]] = true
		for flag := range strings.SplitSeq(want, ",") {
			if flag != "" && !slices.Contains(flags, flag) {
				t.Errorf("%s lacks %s: %s", fields[1], flag, line)
			}
		}
	}
	for point := range must {
		if !seen[point] {
			t.Errorf("nothing is mounted on %s", point)
		}
	}
}

// The same holds for the mounts of the worker, which reads what images hold.
func TestWorkerMountFlags(t *testing.T) {
	t.Parallel()
	root := tempDir(t)
	b := openIn(t, builder.Options{Root: root})
	s := base(t, b)
	var mounts string
	up, stdin := io.Pipe()
	look := trigger(func() { mounts = workerMounts(t, root); stdin.Close() })
	ok(t, errOf(s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/sh", "-c", "echo up; read end; true"}, Stdin: up, Stdout: look})))
	seen := map[string]string{}
	for line := range strings.Lines(mounts) {
		fields := strings.Fields(line)
		seen[strings.TrimPrefix(fields[4], root)] = fields[5] // the uppermost is the last
	}
	for point, want := range map[string]string{"/oakum/mnt": "nosuid,nodev", "/proc": "nosuid,nodev,noexec"} {
		for flag := range strings.SplitSeq(want, ",") {
			if !slices.Contains(strings.Split(seen[point], ","), flag) {
				t.Errorf("%s lacks %s: %s", point, flag, seen[point])
			}
		}
	}
	overlays := 0
	for point, flags := range seen {
		if strings.HasPrefix(point, "/oakum/mnt/roots/") {
			overlays++
			if !slices.Contains(strings.Split(flags, ","), "nodev") {
				t.Errorf("%s lacks nodev: %s", point, flags)
			}
		}
	}
	if overlays == 0 {
		t.Errorf("no root file system is mounted:\n%s", mounts)
	}
}

// workerMounts is what the worker of a store has mounted.
func workerMounts(t testing.TB, root string) string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/mountinfo")
	ok(t, err)
	for _, file := range files {
		name, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		data, err := os.ReadFile(file)
		if err == nil && strings.HasPrefix(string(name), "oakum-worker\x00") && strings.Contains(string(data), " "+root+"/oakum/mnt ") {
			return string(data)
		}
	}
	return "none"
}

// Nobody, root of the machine neither, reaches its devices or what others send over its
// network, or changes what a device of the machine is.
func TestRootOfTheMachine(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := probed(t, b)
	before := map[string]os.FileMode{}
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} { // if the test fails, the machine is to go on
		info, err := os.Stat("/dev/" + name)
		ok(t, err)
		before[name] = info.Mode()
		t.Cleanup(func() { _, _ = os.Chmod("/dev/"+name, info.Mode().Perm()), os.Chown("/dev/"+name, 0, -1) })
	}
	got := on(t, s, isolation.Network{Mode: isolation.Host}, `
for dir in / /dev /tmp /dev/shm; do mknod $dir/disk b 259 0 2>/dev/null && echo "a disk in $dir"; mknod $dir/null2 c 1 3 2>/dev/null && echo "a device in $dir"; done
for f in null zero full random urandom tty; do chmod 600 /dev/$f 2>/dev/null && echo "mode of $f"; chown 1 /dev/$f 2>/dev/null && echo "owner of $f"; done
echo text >/dev/null && head -c 2 /dev/zero | wc -c
probe socket 2 3 1; probe socket 17 3 768; probe socket 17 2 0
(: >/proc/sys/kernel/hostname) 2>/dev/null && echo sysctl
(echo b >/proc/sysrq-trigger) 2>/dev/null && echo sysrq
true`)
	if inChroot { // the nodes are the command's
		got = regexp.MustCompile("(?m)^(mode|owner) of .*\n").ReplaceAllString(got, "")
	}
	equal(t, got, "2\n"+strings.Repeat("Operation not permitted\n", 3))
	for name, mode := range before {
		info, err := os.Stat("/dev/" + name)
		ok(t, err)
		equal(t, info.Mode().String(), mode.String())
	}
}

// File capabilities that a RUN gives are the same in a layer, and work, whoever builds.
func TestFileCapabilities(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := probed(t, b)
	run(t, s, "mkdir /d && chown 1000:1001 /d && chmod 4755 /bin/probe && cp /bin/probe /d/capable && probe setcap /d/capable && touch /d/file && chown 70:80 /d/file && chmod 2755 /d/file && touch /d/plain && chown 70:80 /d/plain")
	const v2 = "0100000201000000000000000000000000000000"
	equal(t, sh(t, s, "probe getcap /d/capable; ls -ln /d/file | cut -c 1-24"), v2+"ok\n-rwxr-sr-x    1 70      \n")
	equal(t, output(t, s, builder.Cmd{Args: []string{"/d/capable", "chown", "/d/plain"}, User: "1000", Ephemeral: true}), "ok\n")
	layer := lastLayer(t, b, s)
	got := entryOf(t, layer, "d/capable").PAXRecords["SCHILY.xattr.security.capability"]
	equal(t, fmt.Sprintf("%x", got), v2)
	file := entryOf(t, layer, "d/file")
	equal(t, fmt.Sprintf("%d:%d %o", file.Uid, file.Gid, file.Mode), "70:80 2755")
}

// A leaked descriptor would lead out of the root file system (CVE-2024-21626).
func TestDescriptors(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	// The third is the directory that ls reads; a list of them that is made for a command is as they were before.
	equal(t, strings.TrimSuffix(sh(t, s, "ls /proc/self/fd | tr '\\n' ' '"), "3 "), "0 1 2 ")
	for n := 3; n <= 24; n++ {
		fork, err := s.Fork(t.Context(), builder.StageOptions{})
		ok(t, err)
		dir := "/proc/self/fd/" + strconv.Itoa(n)
		if n%2 == 0 {
			ok(t, errOf(fork.Workdir(t.Context(), dir, ""))) // a directory of the image, below /proc
		}
		var out strings.Builder
		_, err = fork.Run(t.Context(), builder.Cmd{Args: []string{"/bin/ls", "../../../.."}, Dir: dir, Stdout: &out})
		if err == nil || strings.Contains(out.String(), "var") {
			t.Errorf("%s leads somewhere: %v\n%s", dir, err, out.String())
		}
		ok(t, fork.Close())
	}
}

func TestBackgroundProcessesEnd(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	seconds := nap()
	start := time.Now()
	run(t, s, "(trap '' HUP TERM INT; sleep "+seconds+") & setsid sleep "+seconds+" & sleep 0.1")
	if took := time.Since(start); took > time.Minute {
		t.Errorf("RUN waited %v for its background processes", took)
	}
	if found := processes(t, seconds); found != "" {
		t.Errorf("still running: %s", found)
	}
}

// processes lists the processes of this machine with a word in their command line.
func processes(t testing.TB, word string) string {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	ok(t, err)
	var found []string
	for _, e := range entries {
		data, err := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if err == nil && strings.Contains(string(data), word) {
			found = append(found, e.Name()+" "+strings.ReplaceAll(string(data), "\x00", " "))
		}
	}
	return strings.Join(found, "\n")
}

// Commands reach each other by abstract sockets and signals within one RUN, and nothing
// of the machine, also if they have its network.
func TestAbstractSockets(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := probed(t, b)
	name := "oakum-test-" + nap()
	l, err := net.Listen("unix", "@"+name)
	ok(t, err)
	defer l.Close()
	want := "ok\n" // a kernel that cannot keep them apart: docs/security.md says so
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno == 0 && abi >= 6 {
		want = "Operation not permitted\n"
	}
	onHost := func(script string) string { return on(t, s, isolation.Network{Mode: isolation.Host}, script) }
	equal(t, onHost("probe connect "+name), want)
	if !inChroot { // where every command has the machine's network
		equal(t, sh(t, s, "probe connect "+name), "Connection refused\n")
	}
	equal(t, onHost("probe listen "+name+"-own; probe connect "+name+"-own; sleep 60 & probe kill $!; su app -s /bin/sh -c 'probe listen "+name+"-app'; probe connect "+name+"-app"), strings.Repeat("ok\n", 5))
}
