//go:build linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// What starting may cost. Time depends on the machine; what packages allocate before main does not, nor does the size.
const (
	mostProgram   = 30<<20 + 256<<10 // bytes of bin/oakum
	mostAtStart   = 1400 << 10       // bytes that all packages allocate, most of them in patterns that libraries compile
	mostOfPackage = 24 << 10         // bytes that a package of this module does
)

// TestStart holds what every start pays, of the command, of its worker and of each command that libcontainer runs.
func TestStart(t *testing.T) {
	info, err := os.Stat(oakum)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > mostProgram {
		t.Errorf("bin/oakum has %d bytes, more than %d: go tool nm -size -sort size says what is linked", info.Size(), mostProgram)
	}
	version := exec.Command(oakum, "version")
	version.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	var trace strings.Builder
	version.Stderr = &trace
	if err := version.Run(); err != nil {
		t.Fatal(err)
	}
	all, packages := 0, 0
	for line := range strings.Lines(trace.String()) {
		var name string
		var at, took float64
		var bytes, allocs int
		if _, err := fmt.Sscanf(line, "init %s @%g ms, %g ms clock, %d bytes, %d allocs", &name, &at, &took, &bytes, &allocs); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		packages++
		all += bytes
		own := name == "main" || strings.HasPrefix(name, "github.com/oakum-build/oakum/")
		if own && bytes > mostOfPackage {
			t.Errorf("package %s allocates %d bytes when the program starts, more than %d: make it when it is needed", name, bytes, mostOfPackage)
		}
	}
	if packages < 100 || all > mostAtStart {
		t.Errorf("%d packages allocate %d bytes when the program starts, want at most %d", packages, all, mostAtStart)
	}
}
