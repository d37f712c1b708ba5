package lint

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestSystemCalls: the tables of system calls by which filters are compiled are those of the library
// that follows the kernel.
func TestSystemCalls(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/sys").Output()
	if err != nil {
		t.Fatal(err)
	}
	tables, err := filepath.Glob("../../builder/internal/sandbox/thread/filter/calls/*.txt")
	if err != nil || len(tables) < 8 {
		t.Fatalf("%d tables, %v", len(tables), err)
	}
	line := regexp.MustCompile(`(?m)^\tSYS_([A-Z0-9_]+) *= ([0-9]+)$`)
	for _, table := range tables {
		arch := strings.TrimSuffix(filepath.Base(table), ".txt")
		ours, err := os.ReadFile(table)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "unix", "zsysnum_linux_"+arch+".go"))
		if err != nil {
			t.Fatal(err)
		}
		calls := line.FindAllStringSubmatch(string(theirs), -1)
		if len(calls) < 300 {
			t.Errorf("%s: %d calls", arch, len(calls))
		}
		for _, m := range calls {
			if want := strings.ToLower(m[1]) + " " + m[2]; !strings.Contains("\n"+string(ours), "\n"+want+"\n") {
				t.Errorf("%s lacks %q", table, want)
			}
		}
	}
}
