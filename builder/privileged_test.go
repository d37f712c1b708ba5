//go:build linux

package builder_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/internal/sandbox/sandboxtest"
	"github.com/oakum-build/oakum/builder/isolation"
)

// disguises are what a stranger can set to make a program that imports this package
// something else than itself: environment, arguments, and the kind of socket that is
// descriptors 3 and 4.
var disguises = []struct {
	env, args []string
	socket    int
}{
	{[]string{"_OAKUM_WORKER=root"}, []string{"oakum-worker"}, unix.SOCK_SEQPACKET},
	{[]string{"_OAKUM_WORKER=user"}, []string{"oakum-worker"}, unix.SOCK_SEQPACKET},
	{[]string{"_OAKUM_WORKER=user"}, []string{"oakum-worker"}, unix.SOCK_STREAM},
	{[]string{"_OAKUM_WORKER=other"}, []string{"program"}, unix.SOCK_SEQPACKET},
	{[]string{"_OAKUM_WORKER_CHILD=1"}, []string{"storage-untar", "/"}, unix.SOCK_STREAM},
	{[]string{"_OAKUM_WORKER_CHILD=1"}, []string{"storage-mountfrom", "/"}, unix.SOCK_STREAM},
	{[]string{"_LIBCONTAINER_INITPIPE=3", "_LIBCONTAINER_SYNCPIPE=4", "_LIBCONTAINER_INITTYPE=standard", "_LIBCONTAINER_LOGPIPE=2"}, []string{"program", "init"}, unix.SOCK_STREAM},
	{[]string{"_LIBCONTAINER_INITPIPE=none"}, []string{"program", "init"}, unix.SOCK_STREAM},
	{[]string{"_LIBCONTAINER_LOGPIPE=none"}, []string{"program"}, unix.SOCK_STREAM},
	{[]string{"_Containers-unshare=none"}, []string{"program"}, unix.SOCK_STREAM},
	{[]string{"_Containers-unshare=0", "_Containers-pid-pipe=1"}, []string{"program"}, unix.SOCK_STREAM},
}

const mainRan = "main ran\n"

// beProgram is the main function of a program that imports the package: it shows what
// is left of the variables.
func beProgram() int {
	for _, kv := range os.Environ() {
		if strings.HasPrefix(kv, "_") {
			fmt.Println(kv)
		}
	}
	fmt.Print(mainRan)
	return 0
}

// beStranger starts a program in every disguise and tells where its main function
// did not run. Sockets are those of this process: those of a worker are not enough, and
// with those of a container's first process a parent of the same user would be believed.
func beStranger(program string, sockets bool) int {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for _, d := range disguises {
		cmd := exec.CommandContext(ctx, program)
		cmd.Args = d.args
		cmd.Env = append(slices.Clone(d.env), roleEnv+"=program")
		if sockets || d.socket == unix.SOCK_SEQPACKET {
			for range 2 {
				fds, err := unix.Socketpair(unix.AF_UNIX, d.socket|unix.SOCK_CLOEXEC, 0)
				if err != nil {
					fmt.Println(err)
					return 1
				}
				cmd.ExtraFiles = append(cmd.ExtraFiles, os.NewFile(uintptr(fds[0]), "socket"))
				defer unix.Close(fds[1])
			}
		}
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != mainRan {
			fmt.Printf("%s %q: %v: %s\n", d.env, d.args, err, out)
		}
	}
	return 0
}

// rights gives a program more rights than who starts it has: those of user or group id.
var rights = map[string]func(path string, id int) error{
	"none":    func(string, int) error { return nil },
	"set-uid": func(path string, id int) error { return grant(path, id, -1, os.ModeSetuid) },
	"set-gid": func(path string, id int) error { return grant(path, -1, id, os.ModeSetgid) },
	"file capabilities": func(path string, _ int) error {
		// struct vfs_cap_data, version 2, effective: CAP_SYS_ADMIN.
		cap := []byte{1, 0, 0, 2, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
		return unix.Setxattr(path, "security.capability", cap, 0)
	},
}

func grant(path string, uid, gid int, bit os.FileMode) error {
	if err := os.Lchown(path, uid, gid); err != nil {
		return err
	}
	return os.Chmod(path, 0o755|bit)
}

// A program that imports the package may have more rights than who starts it: then
// nothing that the starter sets makes it a worker, a container's first process or a
// helper. Nor does it, without such rights, end another program.
func TestStrangersDoNotMakeWorkers(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"", "set-uid", "set-gid", "file capabilities"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			dir := tempDir(t)
			ok(t, os.Chmod(dir, 0o755))
			program := filepath.Join(dir, "program")
			self, err := os.ReadFile("/proc/self/exe")
			ok(t, err)
			ok(t, sandboxtest.WriteProgram(program, self))
			out, err := stranger(t, program, kind).CombinedOutput()
			if err != nil || len(out) != 0 {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// stranger is a process that has fewer rights than a program, and tries to be its master.
func stranger(t testing.TB, program, kind string) *exec.Cmd {
	t.Helper()
	role := fmt.Sprintf("%s=stranger:%s:%s", roleEnv, program, kind)
	cmd := exec.Command("/proc/self/exe")
	switch {
	case os.Geteuid() != 0 && kind != "":
		// An ordinary user is root of a namespace that has another user.
		exe, err := os.Executable()
		ok(t, err)
		cmd = exec.Command("unshare", "--map-auto", "--map-root-user", exe)
	case kind != "":
		ok(t, rights[kind](program, 0))
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	cmd.Env = append(os.Environ(), role)
	return cmd
}

// playStranger is the stranger's main function: what root does for it before, it does
// for itself in a namespace of its own.
func playStranger(args string) int {
	program, kind, _ := strings.Cut(args, ":")
	if kind != "" && os.Geteuid() == 0 {
		if err := rights[kind](program, 1); err != nil {
			fmt.Println(err)
			return 1
		}
		if kind == "file capabilities" {
			// Not root, whom they would give nothing.
			if err := syscall.Setresuid(1, 1, 1); err != nil {
				fmt.Println(err)
				return 1
			}
		}
	}
	return beStranger(program, kind != "")
}

// Such a program cannot start a worker, and must not do its own work once more in the
// worker's place: with its rights, and after it has given them up.
func TestNoWorkerForPrivilegedProgram(t *testing.T) {
	t.Parallel()
	for kind, role := range map[string]string{"set-gid": "open", "set-uid": "drop", "file capabilities": "open", "none": "lower"} {
		dir := tempDir(t)
		ok(t, os.Chmod(dir, 0o755))
		program := filepath.Join(dir, "program")
		self, err := os.ReadFile("/proc/self/exe")
		ok(t, err)
		ok(t, sandboxtest.WriteProgram(program, self))
		// As root, who needs no subordinate ids, or as root of a namespace.
		exe, err := os.Executable()
		ok(t, err)
		cmd := exec.Command("unshare", "--map-auto", "--map-root-user", exe)
		if os.Geteuid() == 0 {
			cmd = exec.Command(exe)
		}
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=opener:%s:%s:%s", roleEnv, program, kind, role))
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), "this program has more rights than the user who started it") || strings.Count(string(out), "\n") != 1 {
			t.Errorf("%s: %v: %s", kind, err, out)
		}
	}
}

// playOpener gives a program rights and starts it.
func playOpener(args string) int {
	part := strings.Split(args, ":")
	if err := rights[part[1]](part[0], 1); err != nil {
		fmt.Println(err)
		return 1
	}
	cmd := exec.Command(part[0])
	cmd.Env = append(os.Environ(), roleEnv+"="+part[2])
	if part[1] == "file capabilities" {
		// Not root, whom they would give nothing.
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1, Gid: 1}}
	}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// beBuilder opens a Builder and shows the error: as it is, without the rights that it has,
// or with another user's beside its own.
func beBuilder(role string) int {
	ids := map[string][3]int{"open": {-1, -1, -1}, "drop": {os.Getuid(), os.Getuid(), os.Getuid()}, "lower": {-1, 1, -1}}[role]
	if err := syscall.Setresuid(ids[0], ids[1], ids[2]); err != nil {
		fmt.Println(err)
		return 1
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	b, err := builder.Open(ctx, builder.Options{Root: "/nowhere"})
	if err == nil {
		b.Close()
	}
	fmt.Println(err)
	return 0
}

// What another user made does not make a worker, in new namespaces either: sockets in the
// hands of a program with more rights, such as a service that starts programs in containers.
// Its ids may be mapped when the program starts, or only later.
func TestSocketsOfOthers(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	ok(t, err)
	for namespaces, want := range map[string]string{
		"none": mainRan, "processes": mainRan, "mapped": mainRan,
		"mapped late": "this worker was started by another user than it is\n",
	} {
		cmd := exec.Command("unshare", "--map-auto", "--map-root-user", exe)
		if os.Geteuid() == 0 {
			cmd = exec.Command(exe)
		}
		cmd.Env = append(os.Environ(), roleEnv+"=impostor:"+namespaces)
		out, err := cmd.CombinedOutput()
		ok(t, err)
		if string(out) != want {
			t.Errorf("%s: %s", namespaces, out)
		}
	}
}

// playImpostor starts this program, as root, like a worker, but with sockets that another
// user made.
func playImpostor(namespaces string) int {
	theirs, ours, err := socketsOf(1)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{"oakum-worker"}
	cmd.Env = []string{"_OAKUM_WORKER=root", roleEnv + "=program"}
	cmd.ExtraFiles = theirs
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	attr := &syscall.SysProcAttr{}
	cmd.SysProcAttr = attr
	if namespaces != "none" {
		attr.Cloneflags = unix.CLONE_NEWNS | unix.CLONE_NEWPID
	}
	if strings.HasPrefix(namespaces, "mapped") {
		cmd.Env[0] = "_OAKUM_WORKER=user"
		attr.Cloneflags |= unix.CLONE_NEWUSER
	}
	if namespaces == "mapped" {
		ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}, {ContainerID: 1, HostID: 1, Size: 99}}
		attr.UidMappings, attr.GidMappings = ids, ids
	}
	if err = cmd.Start(); err == nil && namespaces == "mapped late" {
		err = mapLate(cmd.Process.Pid)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	_, _ = ours.WriteString("G")
	_ = ours.Close()
	for _, f := range theirs {
		_ = f.Close() // one that takes itself for a worker ends
	}
	_ = cmd.Wait()
	fmt.Print(out.String())
	return 0
}

// socketsOf makes two pairs of sockets as another user, for the descriptors 3 and 4 of a
// child, with our end of the first.
func socketsOf(user uintptr) (theirs []*os.File, ours *os.File, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const same = ^uintptr(0)
	// Of this thread alone, by the system call itself.
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, same, user, same); errno != 0 {
		return nil, nil, errno
	}
	for range 2 {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, nil, err
		}
		theirs = append(theirs, os.NewFile(uintptr(fds[0]), "theirs"))
		if ours == nil {
			ours = os.NewFile(uintptr(fds[1]), "ours")
		} else {
			_ = unix.Close(fds[1])
		}
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, same, 0, same); errno != 0 {
		return nil, nil, errno
	}
	// The kernel hides a process that changes its ids, and its children.
	return theirs, ours, unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)
}

// mapLate maps the ids of a process once it takes itself for a worker, which then does not
// pass its socket on any more.
func mapLate(pid int) error {
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) {
		info, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/3", pid))
		if err != nil || time.Now().After(deadline) {
			return fmt.Errorf("it is no worker: %w", err)
		}
		var flags int
		if _, rest, found := strings.Cut(string(info), "flags:"); found {
			_, _ = fmt.Sscanf(rest, "%o", &flags)
		}
		if flags&unix.O_CLOEXEC != 0 {
			break
		}
	}
	for _, file := range []string{"uid_map", "gid_map"} {
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/%s", pid, file), []byte("0 0 1\n1 1 99\n"), 0); err != nil {
			return err
		}
	}
	return nil
}

// A container may give root only some capabilities: a command then gets those of
// Docker's that are there, or all of them over a user namespace of its own, and never
// any other.
func TestFewCapabilities(t *testing.T) {
	t.Parallel()
	const (
		podman = "-all,+sys_admin,+chown,+dac_override,+fowner,+fsetid,+kill,+net_bind_service,+setgid,+setuid,+sys_chroot"
	)
	root := tempDir(t)
	b := openIn(t, builder.Options{Root: root})
	s := base(t, b)
	_, err := s.Commit(t.Context(), "localhost/base", builder.CommitOptions{})
	ok(t, err)
	ok(t, b.Close())
	const noUserns = "running without CAP_SETPCAP, where no user namespace can be made: a command would have all the capabilities that oakum has; to mend it: run oakum as an ordinary user, or give the container CAP_SETPCAP"
	// Without CAP_SETPCAP the bounding set is as it was, of which no_new_privs lets nobody have anything.
	for _, test := range []struct{ bounding, asRoot, inUserns, inChroot string }{
		{podman + ",+setfcap,+setpcap", dockerCaps, "00000000800405fb", "00000000800005fb"},
		{podman + ",+setfcap", dockerCaps, dockerCaps, "00000000800004fb 00000000802404fb"},
		{podman + ",+setpcap", "00000000000405fb", "00000000000405fb", "00000000000005fb"},
		{podman + ",+setpcap,+mknod,+net_raw,+audit_write,+sys_module", "00000000200405fb", "00000000280425fb", "00000000200005fb"},
		{podman, noUserns, noUserns, "00000000000004fb 00000000002404fb"},
	} {
		args := []string{"setpriv", "--bounding-set=" + test.bounding, "--inh-caps=-all", "/proc/self/exe"}
		want := test.asRoot
		if os.Geteuid() != 0 {
			args = append([]string{"unshare", "--map-auto", "--map-root-user"}, args...)
			want = test.inUserns
		}
		exe, err := os.Executable()
		ok(t, err)
		args[len(args)-1] = exe
		cmd := exec.Command(args[0], args[1:]...)
		if inChroot {
			want = test.inChroot
		}
		if inChroot && strings.Contains(test.bounding, "net_raw") && !ofTheMachine(t) {
			want = "00000000200025fb"
		}
		cmd.Env = append(os.Environ(), roleEnv+"=capable:"+root)
		out, err := cmd.CombinedOutput()
		ok(t, err)
		if got := strings.TrimSpace(string(out)); got != want {
			t.Errorf("%s: got %s, want %s", test.bounding, got, want)
		}
	}
}

// playCapable shows the capabilities of a command, or why there is none.
func playCapable(root string) int {
	ctx := context.Background()
	b, err := builder.Open(ctx, chosen(builder.Options{Root: root}))
	if err != nil {
		fmt.Println(err)
		return 0
	}
	defer b.Close()
	s, err := b.Stage(ctx, "localhost/base", builder.StageOptions{Pull: "never"})
	if err == nil {
		_, err = s.Run(ctx, builder.Cmd{Args: []string{"/bin/sh", "-c", "awk '/^CapBnd/ { bnd = $2 } /^CapEff/ { eff = $2 } END { print eff == bnd ? eff : eff \" \" bnd }' /proc/self/status; touch /file && chown 5:6 /file"}, Stdout: os.Stdout, Stderr: os.Stdout, Ephemeral: true})
	}
	if err != nil {
		fmt.Println(err)
	}
	return 0
}

// An image's command can be this very program, which is what a container's first process
// was: it must not be able to overwrite the file (CVE-2019-5736).
func TestProgramCannotBeOverwritten(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	exe, err := os.Executable()
	ok(t, err)
	f, err := os.Open(exe)
	ok(t, err)
	defer f.Close()
	before, err := os.ReadFile(exe)
	ok(t, err)
	// The libraries that it needs to run there.
	libraries, _ := exec.Command("ldd", exe).Output() // fails for one that needs none
	dir := t.TempDir()
	for word := range strings.FieldsSeq(string(libraries)) {
		if !filepath.IsAbs(word) {
			continue
		}
		data, err := os.ReadFile(word)
		ok(t, err)
		ok(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(word)), 0o755))
		ok(t, os.WriteFile(filepath.Join(dir, word), data, 0o755))
	}
	ok(t, errOf(s.Copy(t.Context(), "/", builder.Dir(dir))))
	ok(t, errOf(s.Copy(t.Context(), "/script", file("script", "#!/proc/self/exe\n").Chmod("755"))))
	for _, args := range [][]string{{"/proc/self/exe"}, {"/script"}} {
		// What it finds there is no program of ours, and does nothing.
		code := 126
		if inChroot { // there is no such file
			code = 127
		}
		e := exits(t, errOf(s.Run(t.Context(), builder.Cmd{Args: args, Env: []string{roleEnv + "=overwrite"}, Ephemeral: true})), code)
		if len(e.Output) > 0 {
			t.Errorf("%q: %s", args, e.Output)
		}
		if inChroot {
			continue
		}
		oci := builder.Cmd{Args: args, Env: []string{roleEnv + "=overwrite"}, Ephemeral: true}
		oci.Isolation.Sandbox = isolation.OCI
		got := output(t, s, oci)
		// While this process and the worker run, the kernel refuses to write to the file
		// in any case; so it must be another one.
		if !strings.HasPrefix(got, "in the program ") || !strings.HasSuffix(got, "\ntried\n") || strings.Count(got, "\n") != 2 || strings.Contains(got, fileID(int(f.Fd()))) {
			t.Errorf("%q: %s", args, got)
		}
	}
	after, err := os.ReadFile(exe)
	ok(t, err)
	if !bytes.Equal(before, after) {
		t.Fatal("the program has been overwritten")
	}
}

// fileID names an open file, and no other.
func fileID(fd int) string {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// overwrite tries to write to the file of the program that it is, while that runs and
// when it does no more.
func overwrite() int {
	fd, err := unix.Open("/proc/self/exe", unix.O_RDONLY, 0)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("in the program", fileID(fd))
	if _, err := unix.Open("/proc/self/exe", unix.O_WRONLY, 0); err == nil {
		fmt.Println("overwritten")
	}
	script := fmt.Sprintf("f=/proc/self/fd/%d; (echo evil >>$f && echo overwritten) 2>/dev/null; chmod 755 $f 2>/dev/null && echo changed; echo tried", fd)
	fmt.Println(unix.Exec("/bin/sh", []string{"sh", "-c", script}, nil))
	return 1
}
