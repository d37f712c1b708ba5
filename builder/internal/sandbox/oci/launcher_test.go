//go:build linux && cgo

package oci

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder/internal/sandbox/sandboxtest"
)

// A launcher starts its command with just the arguments and variables that it holds.
func TestLauncher(t *testing.T) { // not beside others, whose children may hold the program open
	root, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	many := strings.Repeat("\xe9", 100<<10)
	for _, args := range [][]string{{"sh", "-c", `printf '%s|' "$@" "$V"`, "x", "\xe9", "", "é", "\xff\xfe"}, {"/bin/sh", "-c", `printf '%s|' "$@" "$V"`, "x", many}} {
		env := []string{"PATH=relative:/nowhere:/usr/bin:/bin", "V=\xe8"}
		program, err := makeLauncher(root, "/", args, env)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(t.TempDir(), "launcher")
		if err := sandboxtest.WriteProgram(name, program); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(name).Output()
		if want := strings.Join(args[4:], "|") + "|\xe8|"; err != nil || string(out) != want {
			t.Errorf("got %.100q, %v, want %.100q", out, err, want)
		}
	}
}

// Each architecture's launcher is a program whose code is the instructions that its manual
// has for it.
func TestLauncherCode(t *testing.T) {
	t.Parallel()
	for arch, want := range map[string]struct {
		machine elf.Machine
		code    string
	}{
		"amd64": {elf.EM_X86_64, "\xbf\x34\x12\x40\x00\xbe\x78\x56\x40\x00\xba\xbc\x9a\x40\x00\xb8\x3b\x00\x00\x00\x0f\x05\xbf\x7e\x00\x00\x00\xb8\xe7\x00\x00\x00\x0f\x05"},
		"arm64": {elf.EM_AARCH64, "\x80\x46\x82\xd2\x00\x08\xa0\xf2\x01\xcf\x8a\xd2\x01\x08\xa0\xf2\x82\x57\x93\xd2\x02\x08\xa0\xf2\xa8\x1b\x80\xd2\x08\x00\xa0\xf2\x01\x00\x00\xd4" +
			"\xc0\x0f\x80\xd2\x00\x00\xa0\xf2\xc8\x0b\x80\xd2\x08\x00\xa0\xf2\x01\x00\x00\xd4"},
	} {
		in := launchers[arch]
		if got := in.code(0x401234, 0x405678, 0x409abc); string(got) != want.code {
			t.Errorf("%s: got %x, want %x", arch, got, want.code)
		}
		f, err := elf.NewFile(bytes.NewReader(link(in, "/bin/x", []string{"x"}, nil)))
		if err != nil || f.Machine != want.machine || f.Type != elf.ET_EXEC || len(f.Progs) != 1 || f.Progs[0].Vaddr > f.Entry {
			t.Errorf("%s: got %+v, %v", arch, f, err)
		}
	}
}
