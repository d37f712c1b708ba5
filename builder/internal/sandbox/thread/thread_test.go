//go:build linux && (amd64 || arm64)

package thread

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/sandbox"
)

// What the machine cannot do is told from what went wrong.
func TestLacking(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err     error
		machine bool
	}{
		{fmt.Errorf("new namespaces: %w", os.NewSyscallError("unshare", unix.ENOSPC)), true},
		{&os.PathError{Op: "mount_setattr", Path: "/x", Err: unix.ENOSYS}, true},
		{&os.PathError{Op: "open", Path: "/x", Err: unix.ENOENT}, false},
		{os.NewSyscallError("sethostname", unix.EPERM), false},
	} {
		var host *sandbox.HostError
		got := lacking(test.err)
		if errors.As(got, &host) != test.machine || !strings.Contains(got.Error(), test.err.Error()) || test.machine && host.Fix() == "" {
			t.Errorf("%v: got %v", test.err, got)
		}
	}
}

// The stub executes the first file that can be, with the arguments behind the empty one and its own
// variables, and says why none could be.
func TestStub(t *testing.T) { // not beside others, whose children may hold the program open
	dir := t.TempDir()
	stub, plain := filepath.Join(dir, "stub"), filepath.Join(dir, "plain")
	for name, mode := range map[string]os.FileMode{stub: 0o755, plain: 0o644} {
		if err := os.WriteFile(name, stubProgram(), mode); err != nil {
			t.Fatal(err)
		}
	}
	none, file := filepath.Join(dir, "none"), filepath.Join(plain, "x")
	for _, test := range []struct {
		names []string
		errno unix.Errno
	}{
		{[]string{"/bin/sh"}, 0}, {[]string{none, file, plain, "/bin/sh", none}, 0},
		{[]string{none}, unix.ENOENT}, {nil, unix.ENOENT}, {[]string{none, file, plain, none}, unix.EACCES}, {[]string{dir + "/" + strings.Repeat("n", 300), "/bin/sh"}, unix.ENAMETOOLONG},
	} {
		from, to, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(stub)
		cmd.Args = slices.Concat(test.names, []string{"", "x", "-c", `echo "$0 $1 $V"; ls /proc/$$/fd/3 2>/dev/null`, "zero", "one"})
		cmd.Env, cmd.ExtraFiles = []string{"V=\xe9", "PATH=/usr/bin:/bin"}, []*os.File{to}
		out, err := cmd.Output()
		to.Close()
		var report [8]byte
		n, _ := from.Read(report[:])
		from.Close()
		var exit *exec.ExitError
		if test.errno == 0 && (string(out) != "zero one \xe9\n" || n != 0) {
			t.Errorf("%q: %q, %v, %v", test.names, out, err, report[:n])
		}
		if test.errno != 0 && (!errors.As(err, &exit) || exit.ExitCode() != 126 || !bytes.Equal(report[:n], []byte{byte(test.errno), 0, 0, 0})) {
			t.Errorf("%q: %v, %v, want %v", test.names, err, report[:n], test.errno)
		}
	}
}

func TestStubProgram(t *testing.T) {
	t.Parallel()
	f, err := elf.NewFile(bytes.NewReader(stubProgram()))
	if err != nil || f.Type != elf.ET_EXEC || len(f.Progs) != 1 || f.Progs[0].Flags != elf.PF_R|elf.PF_X || f.Entry < f.Progs[0].Vaddr || f.Entry >= f.Progs[0].Vaddr+f.Progs[0].Filesz {
		t.Errorf("%+v, %v", f, err)
	}
}
