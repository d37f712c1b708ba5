//go:build linux

package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestProcesses runs programs that look into /proc where commands have a root directory alone.
func TestProcesses(t *testing.T) {
	v := enter(t, "docker")
	before := v.look()
	v.run("oakum", "build", v.contexts+"/proc")
	v.checkRemains(before)
}

// TestPack builds the image with oakum, of the repository's Containerfile, where nothing is allowed,
// and runs it.
func TestPack(t *testing.T) {
	context := filepath.Join(shared.dir, "contexts", "pack")
	program := "bin/oakum-linux-" + runtime.GOARCH
	for _, name := range []string{"Containerfile", ".dockerignore", program} {
		content, err := os.ReadFile(filepath.Join(shared.checkout, name))
		if err != nil {
			t.Fatalf("%v; make static builds what is packed", err)
		}
		path := filepath.Join(context, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	v := enter(t, "docker")
	before := v.look()
	v.run("oakum", "build", "--tag", "oakum", v.contexts+"/pack")
	if out := v.run("oakum", "run", "--rm", "--network", "host", "oakum", "oakum", "version"); !strings.Contains(out, "linux/"+runtime.GOARCH) {
		t.Errorf("the image says %q", out)
	}
	v.checkRemains(before)
}
