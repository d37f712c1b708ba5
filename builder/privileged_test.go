//go:build linux

package builder_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder"
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
// did not run. Sockets are those of this process.
func beStranger(program string, sockets bool) int {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, d := range disguises {
		cmd := exec.CommandContext(ctx, program)
		cmd.Args = d.args
		cmd.Env = append(slices.Clone(d.env), roleEnv+"=program")
		if sockets {
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
			ok(t, os.WriteFile(program, self, 0o755))
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
	for role, kind := range map[string]string{"open": "set-gid", "drop": "set-uid"} {
		dir := tempDir(t)
		ok(t, os.Chmod(dir, 0o755))
		program := filepath.Join(dir, "program")
		self, err := os.ReadFile("/proc/self/exe")
		ok(t, err)
		ok(t, os.WriteFile(program, self, 0o755))
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
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// beBuilder opens a Builder and shows the error.
func beBuilder(drop bool) int {
	if drop {
		if err := syscall.Setresuid(os.Getuid(), os.Getuid(), os.Getuid()); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	b, err := builder.Open(ctx, builder.Options{Root: "/nowhere"})
	if err == nil {
		b.Close()
	}
	fmt.Println(err)
	return 0
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
	for _, test := range []struct{ bounding, asRoot, inUserns string }{
		{podman + ",+setfcap,+setpcap", dockerCaps, "00000000800405fb"},
		{podman + ",+setfcap", dockerCaps, dockerCaps},
		{podman + ",+setpcap", "00000000000405fb", "00000000000405fb"},
		{podman + ",+setpcap,+mknod,+net_raw,+audit_write,+sys_module", "00000000200405fb", "00000000280425fb"},
		{podman, noUserns, noUserns},
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
	b, err := builder.Open(ctx, builder.Options{Root: root})
	if err != nil {
		fmt.Println(err)
		return 0
	}
	defer b.Close()
	s, err := b.Stage(ctx, "localhost/base", builder.StageOptions{Pull: builder.PullNever})
	if err == nil {
		err = s.Run(ctx, builder.Cmd{Args: []string{"/bin/sh", "-c", "awk '/^CapBnd/ { bnd = $2 } /^CapEff/ { eff = $2 } END { print eff == bnd ? eff : eff \" \" bnd }' /proc/self/status; touch /file && chown 5:6 /file"}, Stdout: os.Stdout, Stderr: os.Stdout, Ephemeral: true})
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
	ok(t, s.Copy(t.Context(), "/", builder.Dir(dir)))
	ok(t, s.Copy(t.Context(), "/script", file("script", "#!/proc/self/exe\n").Chmod("755")))
	for _, args := range [][]string{{"/proc/self/exe"}, {"/script"}} {
		got := output(t, s, builder.Cmd{Args: args, Env: []string{roleEnv + "=overwrite"}, Ephemeral: true})
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
