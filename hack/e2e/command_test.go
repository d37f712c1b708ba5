//go:build linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestCommandCannotRun builds images whose command can or cannot run, on real base
// images, and compares what oakum warns of with what happens in podman.
func TestCommandCannotRun(t *testing.T) {
	h := newHome(t)
	other := "arm64"
	if runtime.GOARCH == other {
		other = "amd64"
	}
	context := h.context("commands", "FROM scratch\n")
	h.write("commands/run.sh", "#!/bin/bash\necho ran\n")
	h.write("commands/env.sh", "#!/usr/bin/env bash\necho ran\n")
	for _, script := range []string{"run.sh", "env.sh"} {
		if err := os.Chmod(filepath.Join(context, script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	h.goProgram(context, "cgo", "package main\n\nimport \"C\"\n\nfunc main() { println(\"ran\") }\n", "CGO_ENABLED=1")
	h.goProgram(context, "pure", "package main\n\nfunc main() { println(\"ran\") }\n", "CGO_ENABLED=0")
	h.goProgram(context, "other", "package main\n\nfunc main() { println(\"ran\") }\n", "CGO_ENABLED=0", "GOARCH="+other)
	for i, c := range []struct{ dockerfile, want string }{
		{"FROM busybox:1.36\nCOPY cgo /app\nCMD [\"/app\"]\n", "/app needs the dynamic linker"},
		{"FROM scratch\nCOPY cgo /app\nENTRYPOINT [\"/app\"]\n", "/app needs the dynamic linker"},
		{"FROM debian\nCOPY cgo /usr/bin/app\nCMD app --verbose\n", ""},
		{"FROM scratch\nCOPY pure /app\nCMD [\"/app\"]\n", ""},
		{"FROM busybox:1.36\nCOPY other /app\nCMD [\"/app\"]\n", "/app is for " + other},
		{"FROM busybox:1.36\nCMD [\"serve\"]\n", "serve is in no directory of PATH"},
		{"FROM busybox:1.36\nCOPY run.sh /\nCMD [\"/run.sh\"]\n", "/run.sh needs /bin/bash"},
		{"FROM busybox:1.36\nCOPY env.sh /\nCMD [\"/env.sh\"]\n", "/env.sh needs "},
		{"FROM debian\nCOPY run.sh env.sh /\nCMD [\"/run.sh\"]\n", ""},
		{"FROM debian\nCOPY run.sh env.sh /\nCMD exec /env.sh\n", ""},
		{"FROM debian AS d\nFROM busybox:1.36\nCOPY --from=d /bin/ls /app\nCMD /app\n", "/app needs the dynamic linker"},
		{"FROM busybox:1.36\nCMD echo ran\n", ""},
		{"FROM debian\nCMD [\"ls\", \"/\"]\n", ""},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			h := *h
			h.t = t
			file := h.write("commands/file", c.dockerfile)
			_, stderr, err := h.try(oakum, "build", "-t", "localhost/command", "-f", file, context)
			if err != nil {
				t.Fatalf("%v\n%s", err, stderr)
			}
			if warned := strings.Contains(stderr, "CommandCannotRun"); warned != (c.want != "") || !strings.Contains(stderr, c.want) {
				t.Errorf("%s\nsaid:\n%s\nwant %q", c.dockerfile, stderr, c.want)
			}
			_, stderr, err = h.try("podman", "run", "--rm", "--network", "none", "localhost/command")
			if runs := err == nil; runs != (c.want == "") {
				t.Errorf("%s\nin podman: %v\n%s", c.dockerfile, err, stderr)
			}
		})
	}
}

// goProgram compiles a Go program into dir.
func (h *testHome) goProgram(dir, name, text string, env ...string) {
	h.t.Helper()
	source := h.write("src/"+name+".go", text)
	cmd := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(dir, name), source)
	cmd.Env = append(os.Environ(), env...)
	cmd.Dir = filepath.Dir(source)
	if out, err := cmd.CombinedOutput(); err != nil {
		h.t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
}
