//go:build linux && cgo

package oci

import (
	"os"
	"os/exec"
	"runtime"
	"slices"
	"testing"

	"github.com/oakum-build/oakum/builder/internal/passwd"
	"github.com/oakum-build/oakum/builder/internal/rights"
	"github.com/oakum-build/oakum/builder/internal/sandbox"
	"github.com/oakum-build/oakum/builder/internal/sandbox/sandboxtest"
	"github.com/oakum-build/oakum/builder/isolation"
)

// As in the worker, the main thread is the main goroutine's alone.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) { os.Exit(sandboxtest.Main(m)) }

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

// What docs/security.md says of a command's surroundings.
func TestIsolation(t *testing.T) {
	i, err := New(t.TempDir()).Isolation()
	if err != nil {
		t.Fatal(err)
	}
	u, err := rights.NewUserNamespace()
	if err != nil {
		t.Fatal(err)
	}
	r, err := u.Of(sandbox.Command{}, false)
	if err != nil {
		t.Fatal(err)
	}
	uids, _, err := passwd.OwnIDs()
	if err != nil {
		t.Fatal(err)
	}
	namespaces := []string{"ipc", "mnt", "pid", "uts"}
	if uids.All() { // root of the machine: over a user namespace
		namespaces = append(namespaces, "user")
	}
	for what, pair := range map[string][2][]string{
		"namespaces": {i.Namespaces, namespaces}, "capabilities": {i.Capabilities, isolation.DockerCapabilities()}, "masked paths": {i.Masked, r.Masked},
		"read-only paths": {i.ReadOnly, append(r.ReadOnly, "/sys")}, "devices": {i.Devices, rights.Devices},
	} {
		slices.Sort(pair[0])
		slices.Sort(pair[1])
		if !slices.Equal(pair[0], pair[1]) {
			t.Errorf("%s: got %q, want %q", what, pair[0], pair[1])
		}
	}
	if i.Name != "oci" || i.Filter != "docker" || i.Scoped != rights.Scopes() {
		t.Errorf("%+v", i)
	}
}

func BenchmarkTrue(b *testing.B) { sandboxtest.Benchmark(b, New) }
