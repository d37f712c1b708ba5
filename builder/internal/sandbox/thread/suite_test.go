//go:build linux && (amd64 || arm64)

package thread

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"testing"
	"unsafe"

	profiles "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/sandbox/sandboxtest"
	"github.com/oakum-build/oakum/builder/internal/sandbox/thread/filter"
	"github.com/oakum-build/oakum/builder/isolation"
)

// As in the worker, the main thread is the main goroutine's alone.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) {
	if os.Getenv(containerEnv) != "" {
		fmt.Fprintln(os.Stderr, inContainer())
		os.Exit(1)
	}
	os.Exit(sandboxtest.Main(m))
}

func TestSandbox(t *testing.T) { sandboxtest.Test(t, New) }

// The same suite where root has few capabilities, as in containers, and cannot make a user
// namespace, so that commands have the caller's own.
func TestSandboxOfFewCapabilities(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const few = "-all,+sys_admin,+chown,+dac_override,+fowner,+fsetid,+kill,+net_bind_service,+setgid,+setuid,+setpcap,+sys_chroot"
	out, err := exec.Command("setpriv", "--bounding-set="+few, "--inh-caps=-all", exe, "-test.run=^TestSandbox$").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func BenchmarkTrue(b *testing.B) { sandboxtest.Benchmark(b, New) }

func TestChroot(t *testing.T) { sandboxtest.Test(t, NewChroot) }

// containerEnv is set in a process that is to run the tests as root of a Docker container would.
const containerEnv = "OAKUM_CONTAINER_TEST"

// containerCapabilities are those that Docker gives.
const containerCapabilities = "-all,+chown,+dac_override,+fsetid,+fowner,+mknod,+net_raw,+setgid,+setuid,+setfcap,+setpcap,+net_bind_service,+sys_chroot,+kill,+audit_write"

// inContainer takes from this process what Docker does not give root of a container, and runs the tests once more. It
// returns when it cannot.
func inContainer() error {
	os.Unsetenv(containerEnv)
	profile, err := profiles.GetDefaultProfile(&specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: isolation.DockerCapabilities()}}})
	if err != nil {
		return err
	}
	program, err := filter.Compile(profile)
	if err != nil {
		return err
	}
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		return err
	}
	prog := &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(prog))); errno != 0 {
		return os.NewSyscallError("seccomp", errno)
	}
	return unix.Exec(setpriv, append([]string{"setpriv", "--bounding-set=" + containerCapabilities, "--inh-caps=-all", os.Args[0]}, os.Args[1:]...), os.Environ())
}

// The suite as root of a Docker container, with Docker's capabilities and filter of system calls.
func TestChrootInContainer(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^TestChroot$", "-test.v="+strconv.FormatBool(testing.Verbose()))
	cmd.Env = append(os.Environ(), containerEnv+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestSharedSuite(t *testing.T) { sandboxtest.Test(t, NewShared) }
