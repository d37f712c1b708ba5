//go:build linux

// Package deeptree gives tests trees of directories that are deeper than a process may have files open.
package deeptree

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Depth is how many directories Make makes.
const Depth = 250

// Make makes directories in one another below dir, each with a file, whose paths are longer than a call takes. It
// gives the name of the first.
func Make(t testing.TB, dir string) string {
	t.Helper()
	at, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range Depth {
		if err := unix.Mkdirat(int(at.Fd()), name(i), 0o755); err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Openat(int(at.Fd()), name(i), unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			t.Fatal(err)
		}
		at.Close()
		at = os.NewFile(uintptr(fd), name(i))
		file, err := unix.Openat(fd, "file", unix.O_CREAT|unix.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(file)
	}
	at.Close()
	return name(0)
}

func name(i int) string { return fmt.Sprintf("%d%s", i, strings.Repeat("n", 50)) }

// fewEnv says to a process of WithFewFiles where to work.
const fewEnv = "OAKUM_TEST_FEW_FILES"

// WithFewFiles has a test do something with an empty directory in a process of its own, which may have no more
// than 128 files open.
func WithFewFiles(t *testing.T, do func(dir string)) {
	t.Helper()
	if dir := os.Getenv(fewEnv); dir != "" {
		do(dir)
		return
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `ulimit -n 128 && exec "$@"`, "sh", exe, "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), fewEnv+"="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("%v\n%s", err, out)
	}
}
