//go:build linux

package sandboxtest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/passwd"
	"github.com/oakum-build/oakum/builder/internal/sandbox"
)

// testScope: commands reach each other by abstract sockets and signals, and nobody else,
// where the sandbox says so; they have the machine's network, in which its services listen.
func testScope(t *testing.T, p *place, i sandbox.Isolation) {
	name := fmt.Sprintf("oakum-sandbox-%d", time.Now().UnixNano())
	l, err := net.Listen("unix", "@"+name)
	ok(t, err)
	defer l.Close()
	want := "ok\n"
	if i.Scoped {
		want = "EPERM\n"
	}
	equal(t, "the machine's socket", p.sh(t, "probe abstract connect "+name), want)
	equal(t, "its own", p.sh(t, "probe abstract listen "+name+"1; probe abstract connect "+name+"1; busybox sleep 60 & probe kill $! 0; probe kill $! 15"), strings.Repeat("ok\n", 4))
}

func testNetworkFiles(t *testing.T, p *place, i sandbox.Isolation) {
	c := p.command("/bin/sh", "-c", "echo more >>/etc/hosts; echo >/etc/resolv.conf; busybox cat /etc/hosts /etc/resolv.conf; busybox stat -c '%a %u %n' /etc/hosts /etc/resolv.conf")
	c.Network = sandbox.Network{Hosts: "192.0.2.7\tother\n", Resolv: "search example\n"}
	for range 2 { // what is written to them is lost
		equal(t, "files", p.output(t, c), "192.0.2.7\tother\n127.0.1.1\t"+hostname(t, i)+"\nmore\n\n644 0 /etc/hosts\n644 0 /etc/resolv.conf\n")
	}
	for _, name := range []string{"hosts", "resolv.conf"} {
		data, err := os.ReadFile(filepath.Join(p.root, "etc", name))
		if err != nil || len(data) > 0 {
			t.Errorf("%s was written to: %q, %v", name, data, err)
		}
	}
}

// testNoHosts: the root file system's own /etc/hosts is what the command sees, and changes.
func testNoHosts(t *testing.T, p *place, _ sandbox.Isolation) {
	hosts := filepath.Join(p.root, "etc/hosts")
	ok(t, os.WriteFile(hosts, []byte("own\n"), 0o644))
	defer func() { ok(t, os.WriteFile(hosts, nil, 0o644)) }()
	c := p.command("/bin/sh", "-c", "busybox cat /etc/hosts; echo more >>/etc/hosts")
	c.Network.NoHosts = true
	if slices.Contains(p.sandbox.MountPoints(c), "/etc/hosts") {
		t.Error("it is a mount point all the same")
	}
	equal(t, "seen", p.output(t, c), "own\n")
	data, err := os.ReadFile(hosts)
	ok(t, err)
	equal(t, "after it", string(data), "own\nmore\n")
}

func testHostname(t *testing.T, p *place, _ sandbox.Isolation) {
	ours, err := os.Hostname()
	ok(t, err)
	c := p.command("/bin/sh", "-c", "busybox hostname; busybox tail -n 1 /etc/hosts; busybox hostname evil 2>&1")
	c.Hostname = "builder-7"
	out, code, err := p.run(t.Context(), t, c)
	if err != nil || code != 1 || out != "builder-7\n127.0.1.1\tbuilder-7\nhostname: sethostname: Operation not permitted\n" {
		t.Errorf("%q, status %d, %v", out, code, err)
	}
	now, err := os.Hostname()
	ok(t, err)
	equal(t, "the machine's name", now, ours)
}

func testExitCodes(t *testing.T, p *place, i sandbox.Isolation) {
	killed := 5 // the first process of a PID namespace cannot kill itself
	if !own(i, "pid") {
		killed = 128 + int(unix.SIGKILL)
	}
	for script, want := range map[string]int{
		"exit 0": 0, "exit 1": 1, "exit 255": 255, "exit 126": 126, "exit 130": 130, "exec probe crash": 128 + int(unix.SIGSEGV), "exec /tmp/none": 127,
		"busybox sh -c 'kill -9 $$'; exit $?": 128 + int(unix.SIGKILL), "kill -9 $$; exit 5": killed, "probe crash & wait $!; exit 7": 7,
	} {
		if _, code, err := p.run(t.Context(), t, p.command("/bin/sh", "-c", script)); err != nil || code != want {
			t.Errorf("%s: status %d, %v, want %d", script, code, err, want)
		}
	}
}

// testNoStart: what cannot be executed has the shell's status for it. What only the execution
// shows may, as in Docker's containers, be the command's own status 255.
func testNoStart(t *testing.T, p *place, _ sandbox.Isolation) {
	ok(t, os.WriteFile(p.root+"/tmp/plain", []byte("text"), 0o644))
	ok(t, os.WriteFile(p.root+"/tmp/broken", []byte("\x7fELF"), 0o755))
	ok(t, os.WriteFile(p.root+"/tmp/script", []byte("#!/none/such\n"), 0o755))
	ok(t, os.Mkdir(p.root+"/tmp/dir", 0o755))
	ok(t, os.Symlink("/bin/none", p.root+"/bin/dead"))
	defer func() {
		for _, name := range []string{"tmp/plain", "tmp/broken", "tmp/script", "tmp/dir", "bin/dead"} {
			ok(t, os.Remove(filepath.Join(p.root, name)))
		}
	}()
	for name, want := range map[string]int{
		"none": 127, "/none": 127, "/bin/none/x": 127, "/tmp/plain/x": 126, "dead": 127, "./none": 127,
		"/tmp/plain": 126, "/tmp/dir": 126, "/": 126, "../tmp/plain": 126,
	} {
		_, code, err := p.run(t.Context(), t, p.command(name))
		var start *sandbox.StartError
		if !errors.As(err, &start) || start.Code != want || start.Error() == "" {
			t.Errorf("%s: status %d, %v, want a StartError with %d", name, code, err, want)
		}
	}
	for name, want := range map[string]sandbox.StartError{"/tmp/script": {Code: 127, Err: unix.ENOENT}, "/tmp/broken": {Code: 126, Err: unix.ENOEXEC}} {
		out, code, err := p.run(t.Context(), t, p.command(name))
		var start *sandbox.StartError
		if (!errors.As(err, &start) || start.Code != want.Code) && (err != nil || code != 255 || !strings.Contains(out, want.Error())) {
			t.Errorf("%s: status %d, %v, %q, want a StartError with %d", name, code, err, out, want.Code)
		}
	}
	c := p.command("/bin/sh", "-c", "true")
	ok(t, os.Chmod(p.root+"/bin/busybox", 0o700))
	defer func() { ok(t, os.Chmod(p.root+"/bin/busybox", 0o755)) }()
	c.Process.User = app
	_, _, err := p.run(t.Context(), t, c)
	var start *sandbox.StartError
	if !errors.As(err, &start) || start.Code != 126 {
		t.Errorf("a program that the user may not execute: %v", err)
	}
}

// testBusy: a program that somebody still writes to is waited for a moment, by a sandbox that can.
func testBusy(t *testing.T, p *place, i sandbox.Isolation) {
	copyFile(t, p.root+"/bin/probe", p.root+"/tmp/busy")
	defer os.Remove(p.root + "/tmp/busy")
	soon, err := os.OpenFile(p.root+"/tmp/busy", os.O_WRONLY, 0)
	ok(t, err)
	c := p.command("/tmp/busy", "calls", "getpid,0")
	time.AfterFunc(20*time.Millisecond, func() { soon.Close() })
	if out, code, err := p.run(t.Context(), t, c); i.Name == "thread" && (err != nil || code != 0 || out != "call getpid,0\tok\n") {
		t.Errorf("%q, status %d, %v", out, code, err)
	}
	later, err := os.OpenFile(p.root+"/tmp/busy", os.O_WRONLY, 0)
	ok(t, err)
	defer later.Close()
	_, code, err := p.run(t.Context(), t, c)
	var start *sandbox.StartError
	if !errors.As(err, &start) && code != 255 || start != nil && !errors.Is(err, unix.ETXTBSY) && i.Name == "thread" {
		t.Errorf("a program that stays open: status %d, %v", code, err)
	}
}

// testLookup: a name without a slash is looked for in the command's own PATH alone.
func testLookup(t *testing.T, p *place, _ sandbox.Isolation) {
	ok(t, os.MkdirAll(p.root+"/tmp/one", 0o755))
	ok(t, os.MkdirAll(p.root+"/tmp/two", 0o755))
	defer os.RemoveAll(p.root + "/tmp/one")
	defer os.RemoveAll(p.root + "/tmp/two")
	ok(t, os.WriteFile(p.root+"/tmp/one/tool", []byte("#!/bin/sh\necho one $1\n"), 0o644))
	ok(t, WriteProgram(p.root+"/tmp/two/tool", []byte("#!/bin/sh\necho two $1\n")))
	for _, arg := range []string{"x", "\xff"} {
		c := p.command("tool", arg)
		c.Process.Env = []string{"PATH=/tmp/one:/tmp/two"}
		equal(t, "the first that can be executed", p.output(t, c), "two "+arg+"\n")
		c.Process.Dir, c.Process.Args[0], c.Process.Env = "/tmp/two", "./tool", nil
		equal(t, "in the directory", p.output(t, c), "two "+arg+"\n")
	}
}

// testBytes: arguments and variables are bytes.
func testBytes(t *testing.T, p *place, _ sandbox.Isolation) {
	odd := "\xff\xfe\x01 \n'\"\\$é"
	c := p.command("sh", "-c", `printf '%s|%s|%s' "$1" "$2" "$ODD"; busybox env | busybox grep -c =; [ -e /dev/pipes ] && echo pipes; true`, "x", odd, "")
	c.Process.Env = append(c.Process.Env, "ODD="+odd)
	equal(t, "bytes", p.output(t, c), odd+"||"+odd+"6\n")
	many := strings.Repeat("\xe9", 120<<10)
	equal(t, "long", strconv.Itoa(len(p.output(t, p.command("sh", "-c", `printf %s "$1"`, "x", many)))), strconv.Itoa(len(many)))
}

// testDirectory: the command is in its directory, which is made, and never outside the root
// file system (CVE-2024-21626).
func testDirectory(t *testing.T, p *place, _ sandbox.Isolation) {
	c := p.command("/bin/busybox", "pwd")
	c.Process.Dir = "/tmp/made/here"
	equal(t, "directory", p.output(t, c), "/tmp/made/here\n")
	ok(t, os.RemoveAll(p.root+"/tmp/made"))
	ok(t, os.Symlink("../../../../../../../../../../tmp", p.root+"/tmp/out"))
	defer os.Remove(p.root + "/tmp/out")
	c.Process.Dir = "/tmp/out"
	equal(t, "a link up", p.output(t, c), "/tmp\n")
	for n := range 30 {
		c := p.command("/bin/busybox", "ls", "../../../..")
		c.Process.Dir = fmt.Sprintf("/proc/self/fd/%d", n)
		if out, code, err := p.run(t.Context(), t, c); strings.Contains(out, "var") || err == nil && code == 0 && !strings.Contains(out, "bin") {
			t.Errorf("%s leads somewhere: %v\n%s", c.Process.Dir, err, out)
		}
	}
}

func testStdio(t *testing.T, p *place, _ sandbox.Isolation) {
	var files [3][2]*os.File
	for i := range files {
		var err error
		files[i][0], files[i][1], err = os.Pipe()
		ok(t, err)
		defer files[i][0].Close()
		defer files[i][1].Close()
	}
	_, err := files[0][1].WriteString("text\n")
	ok(t, err)
	ok(t, files[0][1].Close())
	c := p.command("/bin/sh", "-c", "busybox cat; echo error >&2; busybox readlink /proc/self/fd/0 | busybox cut -c 1-5")
	c.Stdio = sandbox.Stdio{In: files[0][0], Out: files[1][1], Err: files[2][1]}
	code, err := p.sandboxed(t.Context(), t, c)
	if err != nil || code != 0 {
		t.Fatalf("status %d, %v", code, err)
	}
	for i, want := range map[int]string{1: "text\npipe:\n", 2: "error\n"} {
		ok(t, files[i][1].Close())
		got, err := io.ReadAll(files[i][0])
		ok(t, err)
		equal(t, "output", string(got), want)
	}
}

func testTerminal(t *testing.T, p *place, i sandbox.Isolation) {
	c := p.command("/bin/sh", "-c", "probe report | busybox grep -e '^self [tsp]' -e ^descriptor; read line; echo got $line; exit 4")
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	ok(t, err)
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	defer ours.Close()
	c.Stdio = sandbox.Stdio{Terminal: &sandbox.Terminal{Socket: theirs, Rows: 33, Columns: 111}}
	out := make(chan string, 1)
	go func() { out <- talk(ours, "hello\n") }()
	code, err := p.sandboxed(t.Context(), t, c)
	if err != nil || code != 4 {
		t.Errorf("status %d, %v", code, err)
	}
	ok(t, theirs.Close()) // if no terminal came
	got := strings.ReplaceAll(<-out, "\r", "")
	got = strings.Replace(got, "hello\n", "", 1) // what was typed is shown at any time, also within another line
	wants := []string{"self terminal\t/dev/pts/0 33x111, foreground own\n", "self sid\t1\n", "got hello\n", "descriptor 0\tc"}
	if !own(i, "mnt") {
		wants[0] = " 33x111, foreground own\n" // it has no name
	}
	if !own(i, "pid") {
		wants[1] = "" // it has the number of its first process
	}
	for _, want := range wants {
		if !strings.Contains(got, want) {
			t.Errorf("on the terminal, no %q:\n%s", want, got)
		}
	}
	if strings.Contains(got, "descriptor 3") {
		t.Errorf("a descriptor leaked:\n%s", got)
	}
}

// talk takes a terminal from a socket, writes a line to it, and gives all that it shows.
func talk(socket *os.File, line string) string {
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(int(socket.Fd()), make([]byte, 4096), oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return err.Error()
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return fmt.Sprint("no terminal: ", err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return fmt.Sprint("no terminal: ", err)
	}
	master := os.NewFile(uintptr(fds[0]), "terminal")
	defer master.Close()
	if _, err := master.WriteString(line); err != nil {
		return err.Error()
	}
	data, _ := io.ReadAll(master) // until the command has closed its end
	rest, _ := io.ReadAll(master) // the kernel may say so before the last output is there
	return string(data) + string(rest)
}

// testMounts: files and directories of the caller's, to be written to or not, where links in
// the root file system lead to nothing outside it.
func testMounts(t *testing.T, p *place, i sandbox.Isolation) {
	source := filepath.Join(filepath.Dir(p.root), "source")
	ok(t, os.MkdirAll(source+"/dir", 0o755))
	defer os.RemoveAll(source)
	ok(t, os.WriteFile(source+"/dir/f", []byte("in dir\n"), 0o755))
	ok(t, os.WriteFile(source+"/file", []byte("file\n"), 0o644))
	ok(t, os.Symlink("/../../../../../../tmp/linked", p.root+"/tmp/link"))
	c := p.command("/bin/sh", "-c", `cd /tmp
busybox cat ro/f file /dev/pipes/f link/f
for f in ro/new ro/f file rw/new; do (: >>$f) 2>/dev/null && echo $f can be written to; done
busybox grep -e ' /tmp/' -e pipes /proc/self/mountinfo | busybox sort -k 5 | busybox cut -d ' ' -f 5,6 | busybox sed 's/,relatime//'`)
	c.Mounts = []sandbox.Mount{
		{Kind: sandbox.BindDir, Source: source + "/dir", Target: "/tmp/ro", ReadOnly: true},
		{Kind: sandbox.BindDir, Source: source + "/dir", Target: "/tmp/rw/"},
		{Kind: sandbox.BindFile, Source: source + "/file", Target: "/tmp/file"},
		{Kind: sandbox.BindDir, Source: source + "/dir", Target: "/dev/pipes", ReadOnly: true},
		{Kind: sandbox.BindDir, Source: source + "/dir", Target: "/tmp/link", ReadOnly: true},
	}
	ok(t, os.MkdirAll(p.root+"/tmp/linked", 0o755))
	p.makePoints(t, c)
	const read, written = "in dir\nfile\nin dir\nin dir\n", "file can be written to\nrw/new can be written to\n"
	if !own(i, "mnt") { // each is a copy
		before := listing(t, source)
		equal(t, "copies", p.output(t, c), read+"ro/new can be written to\nro/f can be written to\n"+written)
		equal(t, "the sources", listing(t, source), before)
	} else {
		equal(t, "mounts", p.output(t, c), read+written+`/dev/pipes ro,nosuid,nodev
/tmp/file rw,nosuid,nodev
/tmp/linked ro,nosuid,nodev
/tmp/ro ro,nosuid,nodev
/tmp/rw rw,nosuid,nodev
`)
		if !exists(source + "/dir/new") {
			t.Error("what was written is not in the source")
		}
	}
	for _, name := range []string{"ro", "rw", "file", "link", "linked"} { // empty again, or Remove fails
		ok(t, os.Remove(filepath.Join(p.root, "tmp", name)))
	}
}

// testMountPoints: they are all that a command needs in its root file system, and what is
// below them stays as it was.
func testMountPoints(t *testing.T, p *place, _ sandbox.Isolation) {
	c := p.command("/bin/probe", "calls", "getpid,0")
	c.Mounts = []sandbox.Mount{
		{Kind: sandbox.BindDir, Source: p.root, Target: "/a/dir/../other", ReadOnly: true}, {Kind: sandbox.BindFile, Source: p.root + "/bin/probe", Target: "/a/file"},
		{Kind: sandbox.BindFile, Source: p.root + "/bin/probe", Target: "/dev/program"},
	}
	points := map[string]bool{}
	for _, point := range p.sandbox.MountPoints(c) {
		points[point] = true
	}
	for _, want := range []string{"/proc/", "/dev/", "/sys/", "/etc/hosts", "/etc/resolv.conf", "/a/other/", "/a/file"} {
		if !points[want] {
			t.Errorf("%s is no mount point of %v", want, points)
		}
	}
	if len(points) != 7 {
		t.Errorf("mount points: %v", points)
	}
	p.makePoints(t, c)
	defer os.RemoveAll(p.root + "/a")
	before := listing(t, p.root)
	equal(t, "output", p.output(t, c), "call getpid,0\tok\n")
	equal(t, "the root file system", listing(t, p.root), before)
}

func listing(t testing.TB, root string) string {
	t.Helper()
	var out strings.Builder
	ok(t, filepath.WalkDir(root, func(name string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			fmt.Fprintln(&out, name, info.Mode(), info.ModTime().UnixNano())
		}
		return err
	}))
	return out.String()
}

// testInvalid: what makes no sense is refused before anything is done.
func testInvalid(t *testing.T, p *place, _ sandbox.Isolation) {
	for name, change := range map[string]func(*sandbox.Command){
		"no arguments": func(c *sandbox.Command) { c.Process.Args = nil },
		"no name":      func(c *sandbox.Command) { c.Process.Args = []string{"", "x"} },
		"argument":     func(c *sandbox.Command) { c.Process.Args = []string{"/bin/true", "a\x00b"} },
		"variable":     func(c *sandbox.Command) { c.Process.Env = []string{"A=\x00"} },
		"directory":    func(c *sandbox.Command) { c.Process.Dir = "tmp" },
		"root":         func(c *sandbox.Command) { c.Root.Path = "root" },
		"kind":         func(c *sandbox.Command) { c.Mounts = []sandbox.Mount{{Source: "/tmp", Target: "/tmp"}} },
		"source": func(c *sandbox.Command) {
			c.Mounts = []sandbox.Mount{{Kind: sandbox.BindDir, Source: "tmp", Target: "/tmp"}}
		},
		"target": func(c *sandbox.Command) {
			c.Mounts = []sandbox.Mount{{Kind: sandbox.BindDir, Source: "/tmp", Target: "tmp"}}
		},
		"over the root": func(c *sandbox.Command) {
			c.Mounts = []sandbox.Mount{{Kind: sandbox.BindDir, Source: "/tmp", Target: "/tmp/.."}}
		},
		"over /proc": func(c *sandbox.Command) {
			c.Mounts = []sandbox.Mount{{Kind: sandbox.BindDir, Source: "/tmp", Target: "//proc/"}}
		},
		"below /proc": func(c *sandbox.Command) {
			c.Mounts = []sandbox.Mount{{Kind: sandbox.BindDir, Source: "/tmp", Target: "/tmp/../proc/sys"}}
		},
		"over /dev": func(c *sandbox.Command) {
			c.Mounts = []sandbox.Mount{{Kind: sandbox.BindDir, Source: "/tmp", Target: "/dev"}}
		},
		"below /sys": func(c *sandbox.Command) {
			c.Mounts = []sandbox.Mount{{Kind: sandbox.BindDir, Source: "/tmp", Target: "/sys/kernel"}}
		},
	} {
		c := p.command("/bin/true")
		change(&c)
		if _, _, err := p.run(t.Context(), t, c); !errors.Is(err, sandbox.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := p.sandbox.Run(t.Context(), p.command("/bin/true")); !errors.Is(err, sandbox.ErrInvalid) {
		t.Errorf("no files: %v", err)
	}
}

// testUsers: files belong to whom the command says, by the caller's ids.
func testUsers(t *testing.T, p *place, i sandbox.Isolation) {
	c := p.command("/bin/sh", "-c", "busybox touch /tmp/own && busybox id -u && busybox id -G; busybox chown 0 /tmp/own 2>/dev/null || echo no chown; busybox chroot / /bin/busybox true 2>/dev/null || echo no chroot")
	c.Process.User = passwd.User{UID: 5, GID: 6, Groups: []int{6, 7, 8}}
	equal(t, "ids", p.output(t, c), "5\n6 7 8\nno chown\nno chroot\n")
	var st unix.Stat_t
	ok(t, unix.Lstat(p.root+"/tmp/own", &st))
	if st.Uid != 5 || st.Gid != 6 {
		t.Errorf("a file belongs to %d:%d", st.Uid, st.Gid)
	}
	ok(t, os.Remove(p.root+"/tmp/own"))
	changed := "chroot\n"
	if !slices.Contains(i.Capabilities, "CAP_SYS_CHROOT") {
		changed = ""
	}
	equal(t, "root's rights", p.sh(t, `cd /tmp; echo text >f && busybox chown 70:80 f && busybox chmod 2755 f && busybox stat -c '%u:%g %a' f; busybox rm f
busybox chroot / /bin/busybox true 2>/dev/null && echo chroot; busybox mknod disk b 259 0 2>/dev/null && echo a disk; busybox mknod null c 1 3 2>/dev/null && echo a device; true`), "70:80 2755\n"+changed)
}

func testSetUserID(t *testing.T, p *place, i sandbox.Isolation) {
	copyFile(t, p.root+"/bin/probe", p.root+"/bin/suid")
	defer os.Remove(p.root + "/bin/suid")
	ok(t, os.Chmod(p.root+"/bin/suid", 0o755|os.ModeSetuid))
	c := p.command("/bin/suid", "ids")
	c.Process.User = app
	want := "0:1001\n"
	if i.NoNewPrivileges {
		want = "1000:1001\n"
	}
	equal(t, "effective ids", p.output(t, c), want)
}

// testNoDirectory: it does not matter that the working directory of the sandbox's process has been removed.
func testNoDirectory(t *testing.T, p *place, _ sandbox.Isolation) {
	gone := t.TempDir()
	t.Chdir(gone)
	ok(t, os.Remove(gone))
	equal(t, "directory", p.output(t, p.command("/bin/busybox", "pwd")), "/\n")
}
