//go:build linux

package builder_test

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/isolation"
)

// chrootEnv has the tests use workers without namespaces, as root, so that commands have a root directory of their own.
const chrootEnv = "OAKUM_TEST_CHROOT"

var inChroot = os.Getenv(chrootEnv) != ""

// chosen are options that a test has no other wish about.
func chosen(opts builder.Options) builder.Options {
	if inChroot && opts.Isolation == (isolation.Choice{}) {
		opts.Isolation = withoutNamespaces
	}
	return opts
}

// sandboxes are those that can be asked for.
func sandboxes() []isolation.Sandbox {
	if inChroot {
		return []isolation.Sandbox{isolation.Default}
	}
	return []isolation.Sandbox{isolation.Thread, isolation.OCI}
}

// ofTheMachine says that this process is root of the machine, or of a user namespace that is no other.
func ofTheMachine(t testing.TB) bool {
	t.Helper()
	ids, err := os.ReadFile("/proc/self/uid_map")
	ok(t, err)
	return strings.Contains(string(ids), " 4294967295")
}

// securityFiles have the tests that are run in a chroot too: of what is foreign, and of what commands may do.
var securityFiles = []string{
	"hostile_test.go", "hostile_image_test.go", "hostile_registry_test.go", "mount_hostile_test.go", "foreignarchive_test.go", "storesown_test.go", "unfit_test.go", "root_test.go",
	"race_test.go", "privileged_test.go", "secret_test.go", "rights_test.go", "isolation_test.go", "mount_test.go", "movemounts_test.go", "agent_test.go", "capability_test.go", "link_test.go",
	"worker_test.go", "run_test.go", "layer_test.go", "command_test.go", "lifetime_test.go", "onerror_test.go", "stdio_test.go", "cancel_test.go", "remote_test.go",
}

// namespaced are tests of what only namespaces and mounts can give, with the reason. docs/security.md tells it.
var namespaced = map[string]string{
	"TestMountFlags":              "a command's files are no mounts",
	"TestWorkerMountFlags":        "nor are the worker's",
	"TestSecretIsUnmounted":       "nothing is mounted for a secret; that its memory is gone is what TestSecretLeavesNothing looks for",
	"TestSandboxes":               "there is one sandbox, in no PID namespace",
	"TestSandboxSurroundings":     "the machine's name, numbers of processes and /dev; the suite of sandboxes looks at what there is",
	"TestRedirectsAreNotFollowed": "overlay's attributes mean nothing to a tree",
	"TestDevicesOfArchives":       "a tree has files in the place of devices, of which TestUnprivilegedDevices is",
	"TestMountCacheRace":          "a cache is one command's at a time, so nobody else can swap what is in it",
	"TestMountPointRace":          "as above",
	"TestScratchIsSwept":          "a worker has its own files in scratch, too; TestKillWithoutNamespaces looks at what is left",
	"TestRunTerminal":             "there is no /dev/console",
}

// passed are the lines about tests that begin, wait, go on and pass: hundreds around those that tell why one failed.
var passed = regexp.MustCompile(`(?m)^ *(=== |--- PASS).*\n`)

// Who attacks finds no more where there are no namespaces than where there are, but for what is listed.
func TestInChroot(t *testing.T) {
	if inChroot {
		return
	}
	t.Parallel()
	var names []string
	known := map[string]bool{}
	for _, file := range securityFiles {
		text, err := os.ReadFile(file)
		ok(t, err)
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`).FindAllStringSubmatch(string(text), -1) {
			known[m[1]] = true
			if namespaced[m[1]] == "" {
				names = append(names, m[1])
			}
		}
	}
	for name := range namespaced {
		if !known[name] {
			t.Errorf("there is no %s", name)
		}
	}
	exe, err := os.Executable()
	ok(t, err)
	args := []string{exe, "-test.run=^(" + strings.Join(names, "|") + ")$", "-test.v"}
	if os.Geteuid() != 0 {
		args = slices.Concat([]string{"unshare", "--map-auto", "--map-root-user", "--setuid", "0", "--setgid", "0"}, args)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), chrootEnv+"=1")
	if os.Geteuid() != 0 { // or its libraries would take it for root of the machine
		cmd.Env = append(cmd.Env, "_CONTAINERS_USERNS_CONFIGURED=done", "_CONTAINERS_ROOTLESS_UID="+strconv.Itoa(os.Geteuid()))
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, passed.ReplaceAll(out, nil))
	}
	for _, name := range names {
		if !strings.Contains(string(out), "\n--- PASS: "+name+" ") {
			t.Errorf("%s was not run", name)
		}
	}
}
