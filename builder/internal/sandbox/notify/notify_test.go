//go:build linux && (amd64 || arm64)

package notify

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/sandbox/sandboxtest"
)

// childEnv is set in a process that takes a filter and executes what it is told, in another root.
const childEnv = "OAKUM_NOTIFY_TEST"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		runtime.LockOSThread()
		fmt.Fprintln(os.Stderr, child(os.Getenv(childEnv), os.Args[1:]))
		os.Exit(125)
	}
	os.Exit(sandboxtest.Main(m))
}

// socketFD is what the child sends the listener on.
const socketFD = 3

// child does what the first process of a command does.
func child(root string, args []string) error {
	filtered := os.Getenv("FILTER") != ""
	if filtered {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return err
		}
	}
	if err := unix.Chroot(root); err != nil {
		return err
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	who := credentials{groups: []int{0}, permitted: 0xa80025fb &^ (1 << unix.CAP_SYS_CHROOT), effective: 0xa80025fb &^ (1 << unix.CAP_SYS_CHROOT)}
	if os.Getenv("USER") == "app" {
		who = credentials{uids: [3]int{1000, 1000, 1000}, gids: [3]int{1001, 1001, 1001}, groups: []int{1001, 2000}}
	}
	if err := who.take(&credentials{permitted: ^uint64(0), effective: ^uint64(0), groups: []int{-1}}); err != nil {
		return err
	}
	if filtered {
		fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, Flags(), address(fprog(program())))
		if errno != 0 {
			return errno
		}
		m := newMessage(int(fd))
		if _, _, errno := unix.Syscall(unix.SYS_SENDMSG, socketFD, uintptr(unsafe.Pointer(&m.header)), 0); errno != 0 {
			return errno
		}
	}
	unix.CloseOnExec(socketFD)
	return syscall.Exec(args[0], args, []string{"PATH=/bin", "HOME=/"})
}

// place is a root directory in which commands run.
type place struct {
	root    string
	secrets []Secret
	devices []string
	user    string
	off     bool // there is no filter
}

func newPlace(t testing.TB) *place {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	ok(t, err)
	ok(t, os.Chmod(filepath.Dir(dir), 0o755)) // for other users
	p := &place{root: filepath.Join(dir, "root")}
	for _, name := range []string{"bin", "tmp", "etc", "dev", "proc", "run/secrets", "sub/dir"} {
		ok(t, os.MkdirAll(filepath.Join(p.root, name), 0o755))
	}
	ok(t, os.Chmod(filepath.Join(p.root, "tmp"), 0o777|os.ModeSticky))
	data, err := os.ReadFile("/bin/busybox")
	ok(t, err)
	ok(t, sandboxtest.WriteProgram(filepath.Join(p.root, "bin/busybox"), data))
	for _, name := range []string{"sh", "cat", "ls", "readlink", "head", "stat", "test", "ps", "grep", "sleep", "sed", "wc", "id", "find", "rm", "cut", "df"} {
		ok(t, os.Symlink("busybox", filepath.Join(p.root, "bin", name)))
	}
	ok(t, os.WriteFile(filepath.Join(p.root, "etc/f"), []byte("of etc\n"), 0o644))
	ok(t, os.WriteFile(filepath.Join(p.root, "dev/null"), nil, 0o666))
	ok(t, os.Chmod(filepath.Join(p.root, "dev/null"), 0o666))
	for name, text := range map[string]string{
		"dev/fd": "/proc/self/fd", "dev/stdin": "/proc/self/fd/0", "dev/stdout": "/proc/self/fd/1", "dev/stderr": "/proc/self/fd/2", "etc/mtab": "../proc/self/mounts",
	} {
		ok(t, os.Symlink(text, filepath.Join(p.root, name)))
	}
	return p
}

// run runs a command and gives what it wrote and its error.
func (p *place) run(t testing.TB, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	pass, err := NewPassage()
	ok(t, err)
	defer pass.Close()
	exe, err := os.Executable()
	ok(t, err)
	cmd := exec.CommandContext(ctx, exe, args...)
	cmd.Env = []string{childEnv + "=" + p.root, "USER=" + p.user}
	if !p.off {
		cmd.Env = append(cmd.Env, "FILTER=1")
	}
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("what is read\n"), &out, &out
	socket, err := unix.FcntlInt(pass.Socket(), unix.F_DUPFD_CLOEXEC, 0)
	ok(t, err)
	file := os.NewFile(uintptr(socket), "socket")
	cmd.ExtraFiles = []*os.File{file}
	ok(t, cmd.Start())
	file.Close()
	if p.off {
		return out.String(), cmd.Wait()
	}
	var l *os.File
	for ctx.Err() == nil {
		if l, err = pass.Receive(); err == nil {
			break
		}
		time.Sleep(time.Millisecond) // it is a program of Go, which takes a while
	}
	if err != nil {
		_ = cmd.Process.Kill()
		t.Fatalf("%v: %v, %s", err, cmd.Wait(), out.String())
	}
	root, err := os.Open(p.root)
	ok(t, err)
	defer root.Close()
	server, err := Serve(l, Options{
		Root: root, Masked: []string{"/proc/version", "/proc/sys/vm"}, ReadOnly: []string{"/proc/sys", "/proc/sysrq-trigger"}, Secrets: p.secrets, Devices: p.devices,
	})
	ok(t, err)
	err = cmd.Wait()
	ok(t, server.Close())
	return out.String(), err
}

func (p *place) sh(t testing.TB, script string) string {
	t.Helper()
	out, err := p.run(t, "/bin/sh", "-c", script)
	if err != nil {
		t.Errorf("%s: %v\n%s", script, err, out)
	}
	return out
}

// memory makes a file that only root may read, and nobody may change.
func memory(t testing.TB, text string) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("secret", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	ok(t, err)
	f := os.NewFile(uintptr(fd), "secret")
	t.Cleanup(func() { f.Close() })
	_, err = f.WriteString(text)
	ok(t, err)
	ok(t, f.Chmod(0o400))
	_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	ok(t, err)
	return f
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

//go:embed testdata/asks.c
var asksSource []byte

// asks is the program that makes calls in all the ways that programs do, compiled.
var asks = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "asks-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	source, program := filepath.Join(dir, "asks.c"), filepath.Join(dir, "asks")
	if err := os.WriteFile(source, asksSource, 0o644); err != nil {
		return nil, err
	}
	if out, err := exec.Command("gcc", "-O1", "-Wall", "-Werror", "-static", "-pthread", "-o", program, source).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("gcc: %w\n%s", err, out)
	}
	return os.ReadFile(program)
})

func (p *place) asks(t testing.TB) {
	t.Helper()
	program, err := asks()
	ok(t, err)
	ok(t, sandboxtest.WriteProgram(filepath.Join(p.root, "bin/asks"), program))
}

// Programs ask in all ways, and in all conditions.
func TestAsks(t *testing.T) {
	for _, what := range []string{"calls", "threads", "signals", "dying", "many", "vfork"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			for _, user := range users {
				p := newPlace(t)
				p.asks(t)
				p.user = user
				// A pipe would be somebody else's to app.
				out, err := p.run(t, "/bin/sh", "-c", "asks "+what+" >/tmp/out </etc/f; code=$?; cat /tmp/out; exit $code")
				if err != nil || out != "" {
					t.Errorf("%s: %v\n%s", user, err, out)
				}
			}
		})
	}
}

// Signals that reach the threads which answer, as Go's own do, change no answer.
func TestInterrupted(t *testing.T) {
	p := newPlace(t)
	p.asks(t)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			tasks, _ := os.ReadDir("/proc/self/task")
			for _, task := range tasks {
				id, _ := strconv.Atoi(task.Name())
				_ = unix.Tgkill(os.Getpid(), id, unix.SIGURG) // to which Go itself attaches no meaning
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	out, err := p.run(t, "/bin/sh", "-c", "asks many >/tmp/out </etc/f; code=$?; cat /tmp/out; exit $code")
	close(stop)
	<-stopped
	if err != nil || out != "" {
		t.Errorf("%v\n%s", err, out)
	}
}

// The same for a process that has what Docker gives root: it may not look at the processes of other users.
func TestFewCapabilities(t *testing.T) {
	exe, err := os.Executable()
	ok(t, err)
	const docker = "-all,+audit_write,+chown,+dac_override,+fowner,+fsetid,+kill,+mknod,+net_bind_service,+net_raw,+setfcap,+setgid,+setpcap,+setuid,+sys_chroot"
	tests := "-test.run=^(TestTrial|TestCommands|TestHidden|TestSecrets|TestAsks)$"
	out, err := exec.Command("setpriv", "--bounding-set="+docker, "--inh-caps=-all", exe, tests).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestTrial(t *testing.T) {
	before := children(t)
	ok(t, Trial())
	// In a container nobody else may ever wait for what this process leaves.
	for child := range children(t) {
		if !before[child] {
			t.Errorf("a process is left: %s", child)
		}
	}
}

// children are the numbers of all children of this process.
func children(t *testing.T) map[string]bool {
	t.Helper()
	lists, err := filepath.Glob("/proc/self/task/*/children")
	ok(t, err)
	found := map[string]bool{}
	for _, list := range lists {
		text, _ := os.ReadFile(list) // the thread may have ended
		for child := range strings.FieldsSeq(string(text)) {
			found[child] = true
		}
	}
	return found
}

// A file that stands for a device is that device, by whatever name below /dev it is opened or looked at.
func TestDevices(t *testing.T) {
	p := newPlace(t)
	for _, name := range []string{"null", "zero", "full"} {
		p.devices = append(p.devices, "/dev/"+name)
		ok(t, os.WriteFile(filepath.Join(p.root, "dev", name), nil, 0o666))
		ok(t, os.Chmod(filepath.Join(p.root, "dev", name), 0o666))
	}
	ok(t, os.Symlink("zero", filepath.Join(p.root, "dev/link")))
	for _, user := range users {
		p.user = user
		for script, want := range map[string]string{
			"echo x >/dev/null; echo y >>/dev/null; cat /dev/null; test -c /dev/null && stat -c '%t:%T %a' /dev/null":                             "1:3 666\n",
			"head -c 3 /dev/zero | wc -c; head -c 4 /dev/link | wc -c; cd /dev; head -c 5 ./zero | wc -c; cd /sub; head -c 6 ../dev/zero | wc -c": "3\n4\n5\n6\n",
			"head -c 2 /proc/self/root/dev/zero | wc -c; (set -C; echo x >/dev/full) 2>&1 | grep -c 'No space'":                                   "2\n1\n",
			"stat -c %F /dev/fd /dev/link": "symbolic link\nsymbolic link\n", "cat <>/dev/null >/dev/null; sleep 0 & wait; readlink /dev/zero; echo $?": "1\n",
		} {
			if got := p.sh(t, script); got != want {
				t.Errorf("%s: %s: got %q, want %q", user, script, got, want)
			}
		}
	}
	if content, err := os.ReadFile(filepath.Join(p.root, "dev/null")); err != nil || len(content) > 0 {
		t.Errorf("in the file are %q, %v", content, err)
	}
}

// users are root and somebody else.
var users = []string{"root", "app"}

// What shells and their commands do with /proc gives what it gives where there is one.
func TestCommands(t *testing.T) {
	for _, test := range []struct{ name, script, want string }{
		{"own file", "head -n 1 /proc/self/status", "Name:\thead\n"},
		{"thread", "head -n 1 /proc/thread-self/status", "Name:\thead\n"},
		{"by number", "read -r name </proc/$$/status; echo $name", "Name: sh\n"},
		{"of all", "grep -c ^processor /proc/cpuinfo >/tmp/n; test $(cat /tmp/n) -gt 0 && echo some", "some\n"},
		{"program", "readlink /proc/self/exe", "/bin/busybox\n"},
		{"program read", "head -c 4 /proc/self/exe | wc -c", "4\n"},
		{"root", "readlink /proc/self/root", "/\n"},
		{"directory", "cd /sub/dir; readlink /proc/self/cwd", "/sub/dir\n"},
		{"directory read", "cd /sub; ls /proc/self/cwd", "dir\n"},
		{"through a directory", "cd /sub; test -d /proc/self/cwd/dir && cat /proc/self/cwd/../etc/f", "of etc\n"},
		{"through the root", "cat /proc/self/root/etc/f", "of etc\n"},
		{"through the root to proc", "head -n 1 /proc/self/root/proc/self/status", "Name:\thead\n"},
		{"relative", "cd /sub; head -n 1 ../proc/self/status", "Name:\thead\n"},
		{"relative, below", "cd /proc; head -n 1 self/status; cd self; head -n 1 status", "Name:\thead\nName:\thead\n"},
		{"own link", `test "$(readlink /proc/self)" != $$ && echo other`, "other\n"},
		{"sloppy", "head -n 1 //proc/./self//status; head -n 1 /sub/../proc/self/status", "Name:\thead\nName:\thead\n"},
		{"mounts", "test -e /etc/mtab && cut -d ' ' -f 2 /etc/mtab /proc/mounts; cut -d ' ' -f 5 /proc/self/mountinfo", "/\n/proc\n/\n/proc\n/\n/proc\n"},
		{"a mount", "test $(stat -c %d /proc) != $(stat -c %d /) && test $(stat -c %d /sub) = $(stat -c %d /) && echo one", "one\n"},
		{"kind", "stat -f -c %t /proc /proc/self/status", "9fa0\n9fa0\n"},
		{"file systems", "df / /proc | wc -l", "3\n"},
		{"files", "ls /proc/self/fd >/tmp/l; grep -x -e 0 -e 1 -e 2 /tmp/l", "0\n1\n2\n"},
		{"file's link", "readlink /proc/self/fd/3 3</etc/f", "/etc/f\n"},
		{"file again", "exec 3</etc/f; read x <&3; cat /dev/fd/3 /proc/self/fd/3", "of etc\nof etc\n"},
		{"file by name", "exec 3</etc/f; test -f /dev/fd/3 && stat -L -c %s /dev/fd/3", "7\n"},
		{"file that is gone", "echo x >/tmp/gone; exec 3</tmp/gone; rm /tmp/gone; cat /proc/self/fd/3", "x\n"},
		{"no file", "test -e /proc/self/fd/99 || echo none", "none\n"},
		{"written", "exec 4>/tmp/w; echo x >/dev/fd/4; cat /tmp/w", "x\n"},
		{"oom", "echo 500 >/proc/self/oom_score_adj; cat /proc/self/oom_score_adj", "500\n"},
		{"processes", "ls /proc >/tmp/p; grep -c -x $$ /tmp/p; grep -x cpuinfo /tmp/p", "1\ncpuinfo\n"},
		{"a process ends", "sleep 0 & p=$!; test -d /proc/$p; wait; test -d /proc/$p || echo ended", "ended\n"},
		{"ps", "sleep 999 & until ps | grep -q 'sleep 999$'; do :; done; ps | grep -c 'sleep 999$'; kill $!", "1\n"},
		{"listed again", "for i in 1 2 3; do ls /proc/self/task | wc -l; done", "1\n1\n1\n"},
		{"long list", "find /proc/sys/kernel -type f | head -n 3 | wc -l", "3\n"},
		{"network", "test -f /proc/net/dev && readlink /proc/net && head -n 1 /proc/net/tcp | wc -l", "self/net\n1\n"},
		{"absent", "cat /proc/none /proc/self/none 2>&1", "cat: can't open '/proc/none': No such file or directory\ncat: can't open '/proc/self/none': No such file or directory\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, user := range users {
				p := newPlace(t)
				p.user = user
				out, _ := p.run(t, "/bin/sh", "-c", test.script)
				if out != test.want {
					t.Errorf("%s: got %q, want %q", p.user, out, test.want)
				}
			}
		})
	}
}

func TestClean(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"/": "/", "/..": "/", "//a/./b//": "/a/b", "/a/../proc/x": "/proc/x", "/proc/self/../x": "/proc/x", "/../../proc/..": "/",
		"/proc/self/cwd/../x": "/proc/self/cwd/../x", "/proc/self/cwd/../../x/../y": "/proc/self/cwd/../../y", "/proc/self/cwd/a/../..": "/proc/self/cwd/..",
		"/proc/self/fd/..": "/proc/self", "/proc/self/fd/3/..": "/proc/self/fd/3/..", "/proc/1/task/2/root/..": "/proc/1/task/2/root/..", "/proc/self/task/..": "/proc/self",
	} {
		if got := clean(name); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

// What is not the command's is not there, and nothing leads out of its root.
func TestHidden(t *testing.T) {
	for _, test := range []struct{ name, script, want string }{
		{"masked", "cat /proc/version", "No such file or directory"},
		{"below what is masked", "cat /proc/sys/vm/swappiness", "No such file or directory"},
		{"masked in the list", "ls /proc | grep -x version", ""},
		{"another process", "cat /proc/1/status", "No such file or directory"},
		{"another process's root", "ls /proc/1/root/", "No such file or directory"},
		{"other processes in the list", "ls /proc | grep -x 1", ""},
		{"to be read", "echo 1 >/proc/sys/kernel/panic", "Read-only file system"},
		{"to be read, too", "echo 1 >/proc/sysrq-trigger", "Read-only file system"},
		{"everybody's", "echo 1 >/proc/cpuinfo", "Permission denied"},
		{"above", "cd /proc/self/fd; ls ../../..; ls /proc/..", "bin\ndev\netc\nproc\nrun\nsub\ntmp\nbin\ndev\netc\nproc\nrun\nsub\ntmp"},
		{"above a file", "exec 3</proc; cat /proc/self/fd/3/../" + "etc/hostname", "No such file or directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, user := range users {
				p := newPlace(t)
				p.user = user
				out, _ := p.run(t, "/bin/sh", "-c", test.script+" 2>&1; true")
				if got := strings.TrimSpace(out); got != test.want && (test.want == "" || !strings.HasSuffix(got, ": "+test.want)) {
					t.Errorf("%s: got %q, want %q", p.user, got, test.want)
				}
			}
		})
	}
}

// Secrets are found by every name, and cannot be changed.
func TestSecrets(t *testing.T) {
	p := newPlace(t)
	ok(t, os.Symlink("/run/secrets/token", filepath.Join(p.root, "etc/link")))
	ok(t, os.Symlink("/run", filepath.Join(p.root, "sub/run")))
	ok(t, os.WriteFile(filepath.Join(p.root, "run/secrets/token"), nil, 0o400))
	ok(t, os.Truncate(filepath.Join(p.root, "run/secrets/token"), 7))
	place, err := os.Open(filepath.Join(p.root, "run/secrets/token"))
	ok(t, err)
	defer place.Close()
	data := memory(t, "secret\n")
	p.secrets = []Secret{{Place: place, Data: data}}
	for _, name := range []string{"/run/secrets/token", "/etc/link", "/sub/run/secrets/token", "run/../run/secrets//token", "/proc/self/root/run/secrets/token"} {
		if out, err := p.run(t, "/bin/sh", "-c", "cat "+name+" "+name); err != nil || out != "secret\nsecret\n" {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
	for script, want := range map[string]string{
		"cd /run/secrets && cat token && ls -l token | sed 's/ *0 .*//'":      "secret\n-r--------    1\n",
		"(echo x >/run/secrets/token) 2>&1":                                   "/bin/sh: can't create /run/secrets/token: Read-only file system\n",
		"exec 3</run/secrets/token; (echo x >/dev/fd/3) 2>/dev/null; cat <&3": "secret\n",
		"wc -c </etc/link; head -n 1 /proc/self/status; cat /etc/f":           "7\nName:\thead\nof etc\n",
	} {
		if out := p.sh(t, script+"; true"); out != want {
			t.Errorf("%s: got %q, want %q", script, out, want)
		}
	}
	p.user = "app"
	if out, _ := p.run(t, "/bin/sh", "-c", "cat /run/secrets/token 2>&1"); !strings.HasSuffix(out, "Permission denied\n") {
		t.Errorf("another user: %q", out)
	}
	if on, err := os.ReadFile(place.Name()); err != nil || bytes.Contains(on, []byte("secret")) {
		t.Errorf("the secret is in the root: %q, %v", on, err)
	}
}
