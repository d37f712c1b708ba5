//go:build linux

package binfmt

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
)

func TestRegistration(t *testing.T) {
	for arch, want := range map[string]string{
		"arm64": `:oakum-aarch64:M::\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:` +
			`\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\xfe\xff\xff\xff:/q:POCF`,
		"s390x": `:oakum-s390x:M::\x7f\x45\x4c\x46\x02\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x16:` +
			`\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xfe\xff\xff:/q:POCF`,
	} {
		if got := machines[arch].registration("/q"); got != want {
			t.Errorf("%s: got %s", arch, got)
		}
	}
}

func TestMatches(t *testing.T) {
	// As the kernel shows what Debian's qemu-user-static registers.
	const arm64 = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: POF\noffset 0\n" +
		"magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n"
	for _, c := range []struct {
		text, arch string
		want       bool
	}{
		{arm64, "arm64", true},
		{arm64, "riscv64", false},
		{arm64, "arm", false},
		{strings.Replace(arm64, "enabled", "disabled", 1), "arm64", false},
		{"enabled\ninterpreter /usr/bin/jexec\nflags: \noffset 0\nmagic 504b0304\n", "arm64", false},
		{"enabled\ninterpreter /usr/bin/x\nflags: \noffset 0\nmagic 7f454c46\n", "s390x", true},
		{"enabled\ninterpreter /usr/bin/x\nflags: \nextension .jar\n", "arm64", false},
		{"", "arm64", false},
	} {
		if got := parseEntry(c.text).matches(machines[c.arch].header()); got != c.want {
			t.Errorf("%s of %q: got %v", c.arch, c.text, got)
		}
	}
	if e := parseEntry(arm64); !e.enabled || e.flags != "POF" {
		t.Errorf("got %+v", e)
	}
}

// TestFind: an emulator that is not static, or no program at all, would not work among a
// command's files.
func TestFind(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", "relative:"+dir)
	m := machine{qemu: "none"}
	path := filepath.Join(dir, "qemu-none-static")
	var host *errdefs.HostError
	if got, err := find(m); !errors.As(err, &host) || !strings.Contains(host.Missing, "qemu-none-static") {
		t.Errorf("got %q, %v", got, err)
	}
	for text, want := range map[string]bool{"#!/bin/sh\n": false, elfProgram(t, true): false, elfProgram(t, false): true} {
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		if got, err := find(m); (err == nil && got == path) != want {
			t.Errorf("%.10q: got %q, %v", text, got, err)
		}
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := find(m); err == nil {
		t.Errorf("a file that is not executable: got %q", got)
	}
}

// elfProgram is a program, with or without an interpreter.
func elfProgram(t *testing.T, interpreter bool) string {
	t.Helper()
	b := make([]byte, 64+56)
	copy(b, machine{class: bits64, data: little, code: 62}.header())
	b[20], b[32], b[52], b[54], b[56] = 1, 64, 64, 56, 1 // version; the table of one program header
	b[64] = 1                                            // PT_LOAD
	if interpreter {
		b[64] = 3
	}
	return string(b)
}

// TestNeedOwn: what this processor executes, and what nobody knows, is left as it is.
func TestNeedOwn(t *testing.T) {
	e := Open(false)
	defer e.Close()
	for _, arch := range []string{runtime.GOARCH, "", "sparc64"} {
		if users, err := e.Need(arch); users != nil || err != nil {
			t.Errorf("%q: %v, %v", arch, users, err)
		}
	}
	if e.registered(machine{class: bits64, data: little, code: 0xfeed}) {
		t.Error("there is an interpreter for a machine that does not exist")
	}
}
