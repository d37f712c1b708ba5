//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// full fills the file system of a store, builds, and removes an image then.
const full = `
set -e
mount -t tmpfs -o size=40m small "$1"
cd "$1"
export TMPDIR=$1
build() { "$oakum" --root store build -q --build-arg "OF=$1" -t app "$context" >/dev/null; }
oakum=$2 context=$1/../context
head -c 8000000 /dev/zero >"$context/big"
build first
head -c 4000000 /dev/zero >"$context/big"
build second
cat /dev/zero >fill 2>/dev/null || cat /dev/zero >>fill 2>/dev/null || true
build third && echo built
"$oakum" --root store image prune -f
build third && echo again
"$oakum" --root store run app cat /of
`

// On a disk that is full a build says so and what to do, and that can be done: after it the same build succeeds.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.write("context/Dockerfile", "FROM busybox\nARG OF\nRUN echo $OF >/of\nCOPY big /big\n")
	small := filepath.Join(h.dir, "small")
	if err := os.Mkdir(small, 0o755); err != nil {
		t.Fatal(err)
	}
	args := []string{"unshare", "--mount", "sh", "-c", full, "sh", small, oakum}
	if uid := os.Geteuid(); uid != 0 { // an ordinary user mounts in a user namespace alone, and says whose that is
		args = slices.Concat([]string{"env", "_CONTAINERS_USERNS_CONFIGURED=done", fmt.Sprintf("_CONTAINERS_ROOTLESS_UID=%d", uid),
			"unshare", "--map-auto", "--map-root-user", "--setuid", "0", "--setgid", "0"}, args[1:])
	}
	out, said, err := h.try(args[0], args[1:]...)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if err != nil || len(lines) != 3 || !strings.HasPrefix(lines[0], "Deleted: ") || lines[1] != "again" || lines[2] != "third" {
		t.Errorf("%v\n%s\n%s", err, out, said)
	}
	if strings.Count(said, "o space left on device\n") == 0 || strings.Count(said, "hint: oakum du says") != 1 {
		t.Errorf("it said\n%s", said)
	}
}
