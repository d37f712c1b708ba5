//go:build linux

package workspacetest

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

// others are those as whom AsOthers runs tests.
var others = map[string][]string{
	"one":   {"unshare", "--user", "--map-root-user", "--mount", "--"},
	"plain": {"setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--"},
}

// AsOthers runs the test TestWorkspace once more as root of a user namespace that has one id, and as a
// user without any capability, in no namespace of its own: for implementations that do not mount.
func AsOthers(t *testing.T) {
	for name, command := range others {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			own, err := os.Open("/proc/self/exe") // whose directory may be closed to others
			if err != nil {
				t.Fatal(err)
			}
			defer own.Close()
			args := append(command[1:len(command):len(command)], "/proc/self/fd/3", "-test.run=^TestWorkspace$", "-test.skip=/^ManyLayers$", "-test.timeout="+(20*time.Minute).String())
			cmd := exec.CommandContext(t.Context(), command[0], args...)
			cmd.ExtraFiles = []*os.File{own}
			cmd.Env = append(os.Environ(), usernsEnv+"="+name, "_CONTAINERS_USERNS_CONFIGURED=done", "HOME=/nowhere")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
