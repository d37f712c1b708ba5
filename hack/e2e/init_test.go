//go:build linux

package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestSlowInit runs a program of an embedder whose init function takes a second and prints: it is
// paid for twice, by the program and by its worker, and by no command.
func TestSlowInit(t *testing.T) {
	h := newHome(t)
	program := filepath.Join(t.TempDir(), "slow")
	build := exec.Command("go", "build", "-o", program, "./hack/badinit/slow") // GOFLAGS has the tags
	build.Dir = checkout
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out := h.run(program)
	var want strings.Builder
	for i := range 20 {
		fmt.Fprintf(&want, "step %d\n", i)
	}
	lines := strings.SplitAfter(out, "\n")
	started := 0
	commands := slices.DeleteFunc(lines, func(line string) bool {
		if strings.Contains(line, "slow: starting") {
			started++
			return true
		}
		return false
	})
	if started != 2 || strings.Join(commands, "") != want.String() {
		t.Errorf("the init function ran %d times, and the program printed\n%s", started, out)
	}
}
