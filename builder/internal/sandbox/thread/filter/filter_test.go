//go:build linux

package filter

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// call is what a filter sees of one: struct seccomp_data, but for the instruction.
type call struct {
	number, arch uint32
	args         [6]uint64
}

// evaluate does what the kernel does with a program. It fails for one that the kernel does not take.
func evaluate(t testing.TB, p Program, c call) uint32 {
	t.Helper()
	data := make([]byte, 64)
	binary.NativeEndian.PutUint32(data, c.number)
	binary.NativeEndian.PutUint32(data[4:], c.arch)
	for i, a := range c.args {
		binary.NativeEndian.PutUint64(data[16+8*i:], a)
	}
	var a uint32
	for at := 0; at < len(p); at++ {
		in := p[at]
		holds := false
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = binary.NativeEndian.Uint32(data[in.K:])
			continue
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a &= in.K
			continue
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		case unix.BPF_JMP | unix.BPF_JA:
			at += int(in.K)
			continue
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			holds = a == in.K
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			holds = a >= in.K
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			holds = a > in.K
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			holds = a&in.K != 0
		default:
			t.Fatalf("instruction %d has the code %#x", at, in.Code)
		}
		if holds {
			at += int(in.Jt)
		} else {
			at += int(in.Jf)
		}
	}
	t.Fatal("the program has no end")
	return 0
}

var libseccompNames = map[specs.Arch]string{specs.ArchX86_64: "x86_64", specs.ArchX86: "x86", specs.ArchAARCH64: "aarch64", specs.ArchARM: "arm"}

var operators = []specs.LinuxSeccompOperator{"", specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpEqualTo, specs.OpGreaterEqual, specs.OpGreaterThan, specs.OpMaskedEqual}

// libseccomp gives its program of a profile, and the names that it does not know.
func libseccomp(t *testing.T, tool string, p *specs.LinuxSeccomp) (Program, []string) {
	t.Helper()
	var in, unknown strings.Builder
	number := func(a specs.LinuxSeccompAction, errno *uint) uint32 {
		n, err := action(a, errno)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	fallback := number(p.DefaultAction, p.DefaultErrnoRet)
	fmt.Fprintln(&in, "default", fallback)
	for _, a := range p.Architectures {
		fmt.Fprintln(&in, "arch", libseccompNames[a])
	}
	for _, s := range p.Syscalls {
		if number(s.Action, s.ErrnoRet) == fallback {
			continue // as runc does
		}
		lists, err := split(s.Args)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range s.Names {
			for _, list := range lists {
				fmt.Fprint(&in, "rule ", number(s.Action, s.ErrnoRet), " ", name)
				for _, a := range list {
					fmt.Fprint(&in, " ", a.Index, " ", slices.Index(operators, a.Op), " ", a.Value, " ", a.ValueTwo)
				}
				fmt.Fprintln(&in)
			}
		}
	}
	cmd := exec.Command(tool)
	cmd.Stdin, cmd.Stderr = strings.NewReader(in.String()), &unknown
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, unknown.String())
	}
	program := make(Program, len(out)/8)
	if err := binary.Read(bytes.NewReader(out), binary.NativeEndian, program); err != nil {
		t.Fatal(err)
	}
	return program, strings.Fields(unknown.String())
}

func buildTool(t *testing.T) string {
	t.Helper()
	tool := filepath.Join(t.TempDir(), "libseccomp")
	if out, err := exec.Command("gcc", "-Wall", "-o", tool, "testdata/libseccomp.c", "-lseccomp").CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%v; hack/deps installs what the tests need\n%s", err, out)
	}
	return tool
}

func docker(t *testing.T, capabilities ...string) *specs.LinuxSeccomp {
	t.Helper()
	p, err := seccomp.GetDefaultProfile(&specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: capabilities}}})
	if err != nil {
		t.Fatal(err)
	}
	p.Architectures = slices.DeleteFunc(p.Architectures, func(a specs.Arch) bool { return a == specs.ArchX32 })
	return p
}

func errno(n uint) *uint { return &n }

// odd is a profile with all operators and actions.
func odd(fallback specs.LinuxSeccompAction, archs ...specs.Arch) *specs.LinuxSeccomp {
	arg := func(index uint, op specs.LinuxSeccompOperator, value, two uint64) specs.LinuxSeccompArg {
		return specs.LinuxSeccompArg{Index: index, Op: op, Value: value, ValueTwo: two}
	}
	p := &specs.LinuxSeccomp{DefaultAction: fallback, Architectures: archs}
	add := func(a specs.LinuxSeccompAction, errno *uint, name string, args ...specs.LinuxSeccompArg) {
		p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{Names: []string{name}, Action: a, ErrnoRet: errno, Args: args})
	}
	for i, op := range operators[1:] {
		name := []string{"read", "write", "open", "close", "lseek", "poll", "mmap"}[i]
		add(specs.ActErrno, errno(uint(i+2)), name, arg(uint(i%6), op, 0x7f, 3))
	}
	add(specs.ActErrno, errno(7), "ioctl", arg(1, specs.OpGreaterThan, 1<<33|5, 0), arg(2, specs.OpLessEqual, 9, 0))
	add(specs.ActErrno, errno(8), "fcntl", arg(1, specs.OpEqualTo, 4, 0), arg(1, specs.OpEqualTo, 5, 0))
	add(specs.ActErrno, errno(9), "dup", arg(0, specs.OpMaskedEqual, 0xff<<28, 0x3<<28))
	add(specs.ActKillProcess, nil, "getpid")
	add(specs.ActTrap, nil, "getppid")
	add(specs.ActTrace, errno(3), "getuid")
	add(specs.ActLog, nil, "getgid")
	add(specs.ActKillThread, nil, "geteuid")
	add(specs.ActErrno, errno(10), "kill", arg(1, specs.OpEqualTo, 9, 0))
	add(specs.ActErrno, errno(11), "kill")
	add(specs.ActErrno, errno(12), "dup2")
	add(specs.ActErrno, errno(13), "dup2")
	add(specs.ActErrno, errno(14), "dup2", arg(0, specs.OpEqualTo, 3, 0))
	return p
}

// classes are values of arguments that a profile's conditions tell apart.
func classes(p *specs.LinuxSeccomp, name string) [6][]uint64 {
	var out [6][]uint64
	for i := range out {
		out[i] = []uint64{0, 1<<64 - 1}
	}
	for _, s := range p.Syscalls {
		if !slices.Contains(s.Names, name) {
			continue
		}
		for _, a := range s.Args {
			for _, v := range []uint64{a.Value, a.ValueTwo} {
				out[a.Index] = append(out[a.Index], v, v-1, v+1, v|1<<32, v^1<<31, v&0xffffffff, v|1<<63)
			}
		}
	}
	return out
}

// calls are all of an architecture with each class of arguments, and numbers that no call has.
func allCalls(t *testing.T, p *specs.LinuxSeccomp, a architecture) []call {
	t.Helper()
	numbers, err := a.numbers()
	if err != nil {
		t.Fatal(err)
	}
	list := []call{}
	for name, n := range numbers {
		values := classes(p, name)
		for i := range values {
			for _, v := range values[i] {
				for _, w := range values[(i+1)%6] {
					c := call{number: n, arch: a.audit}
					c.args[i], c.args[(i+1)%6] = v, w
					if a.goarch == "386" || a.goarch == "arm" { // have no more of them
						for j := range c.args {
							c.args[j] &= 0xffffffff
						}
					}
					list = append(list, c)
				}
			}
		}
	}
	known := slices.Collect(maps.Values(numbers))
	for n := range uint32(1100) {
		if !slices.Contains(known, n) {
			list = append(list, call{number: n, arch: a.audit})
		}
	}
	for _, n := range []uint32{0x3fffffff, 0x40000000, 0x40000001, 0x400001ff, 0x7fffffff, 0x80000000, 0xfffffffe} {
		list = append(list, call{number: n, arch: a.audit})
	}
	return list
}

// The programs decide as libseccomp's do, about all calls and classes of arguments, but for what this
// package says of it.
func TestLibseccomp(t *testing.T) {
	t.Parallel()
	tool := buildTool(t)
	profiles := map[string]*specs.LinuxSeccomp{
		"docker": docker(t), "docker with capabilities": docker(t, "CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_SYS_CHROOT", "CAP_BPF", "CAP_SYSLOG"),
	}
	if runtime.GOARCH == "amd64" { // libseccomp adds the machine's own architecture, and these are made for this one
		maps.Copy(profiles, map[string]*specs.LinuxSeccomp{
			"lets": odd(specs.ActAllow, specs.ArchX86_64), "lets and has i386": odd(specs.ActAllow, specs.ArchX86_64, specs.ArchX86),
			"refuses": odd(specs.ActErrno), "kills": odd(specs.ActKill, specs.ArchX86_64, specs.ArchX86), "arm": odd(specs.ActAllow, specs.ArchX86_64, specs.ArchAARCH64, specs.ArchARM),
		})
	}
	for name, p := range profiles {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ours, err := Compile(p)
			if err != nil {
				t.Fatal(err)
			}
			theirs, unknown := libseccomp(t, tool, p)
			t.Logf("%d instructions, libseccomp's %d", len(ours), len(theirs))
			archs := p.Architectures
			if len(archs) == 0 {
				archs = []specs.Arch{native}
			}
			for _, arch := range archs {
				compare(t, p, architectures[arch], ours, theirs, unknown)
			}
			for _, arch := range []uint32{0, unix.AUDIT_ARCH_S390X} {
				c := call{number: 1, arch: arch}
				if a, b := evaluate(t, ours, c), evaluate(t, theirs, c); a != b {
					t.Errorf("another architecture: %#x, libseccomp %#x", a, b)
				}
			}
		})
	}
}

func compare(t *testing.T, p *specs.LinuxSeccomp, a architecture, ours, theirs Program, unknown []string) {
	t.Helper()
	fallback, _ := action(p.DefaultAction, p.DefaultErrnoRet)
	tab, err := newTable(p, a, fallback)
	if err != nil {
		t.Fatal(err)
	}
	numbers, _ := a.numbers()
	passed := map[uint32]bool{} // calls that libseccomp does not know
	for _, name := range unknown {
		if n, has := numbers[name]; has {
			passed[n] = true
		}
	}
	const socketcall = 102
	count, wrong := 0, 0
	for _, c := range allCalls(t, p, a) {
		if passed[c.number] || a.goarch == "386" && c.number == socketcall {
			continue
		}
		count++
		got, want := evaluate(t, ours, c), evaluate(t, theirs, c)
		if tab.knows && !lets(fallback) && c.number > tab.last && (c.number < x32Bit || !a.x32) {
			want = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
		}
		if got != want && wrong < 20 {
			wrong++
			t.Errorf("%s: call %#x of %#x: %#x, libseccomp %#x", a.goarch, c.number, c.args, got, want)
		}
	}
	if count < 3000 {
		t.Errorf("only %d calls were compared", count)
	}
}

// What libseccomp cannot be asked: calls that are new, and i386's sockets.
func TestOwnRules(t *testing.T) {
	t.Parallel()
	p := docker(t)
	p.Architectures = []specs.Arch{specs.ArchX86_64, specs.ArchX86}
	program, err := Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	const eperm, enosys = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM), unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	for _, test := range []struct {
		what string
		call call
		want uint32
	}{
		{"a call of 2040", call{number: 900, arch: unix.AUDIT_ARCH_X86_64}, enosys},
		{"i386's sockets", call{number: 102, arch: unix.AUDIT_ARCH_I386, args: [6]uint64{1}}, eperm},
		{"i386's bind", call{number: 102, arch: unix.AUDIT_ARCH_I386, args: [6]uint64{2}}, unix.SECCOMP_RET_ALLOW},
		{"a call of x32", call{number: 0x40000000 + 39, arch: unix.AUDIT_ARCH_X86_64}, unix.SECCOMP_RET_KILL_THREAD},
		{"clone3", call{number: 435, arch: unix.AUDIT_ARCH_X86_64}, enosys},
		{"mount", call{number: 165, arch: unix.AUDIT_ARCH_X86_64}, eperm},
	} {
		if got := evaluate(t, program, test.call); got != test.want {
			t.Errorf("%s: %#x, want %#x", test.what, got, test.want)
		}
	}
	if len(program) > 800 {
		t.Errorf("%d instructions", len(program))
	}
}

// The names that Docker's profile has are those of some architecture, but for what only others have.
func TestCalls(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, a := range architectures {
		numbers, err := a.numbers()
		if err != nil {
			t.Fatal(err)
		}
		if len(numbers) < 300 {
			t.Errorf("%s: %d calls", a.goarch, len(numbers))
		}
		for name := range numbers {
			known[name] = true
		}
	}
	var missing []string
	for _, s := range seccomp.DefaultProfile().Syscalls {
		for _, name := range s.Names {
			if !known[name] && !slices.Contains(missing, name) {
				missing = append(missing, name)
			}
		}
	}
	if len(missing) > 5 {
		t.Errorf("no architecture has %q", missing)
	}
}

func TestBadProfiles(t *testing.T) {
	t.Parallel()
	rule := func(a specs.LinuxSeccompAction, args ...specs.LinuxSeccompArg) []specs.LinuxSyscall {
		return []specs.LinuxSyscall{{Names: []string{"read"}, Action: a, Args: args}}
	}
	var many []specs.LinuxSyscall
	for n := range uint64(1000) {
		many = append(many, rule(specs.ActErrno, specs.LinuxSeccompArg{Index: 1, Op: specs.OpEqualTo, Value: n << 20})...)
	}
	for what, p := range map[string]*specs.LinuxSeccomp{
		"action": {DefaultAction: "SCMP_ACT_MAYBE"}, "notification": {DefaultAction: specs.ActAllow, Syscalls: rule(specs.ActNotify)},
		"architecture": {DefaultAction: specs.ActAllow, Architectures: []specs.Arch{"SCMP_ARCH_VAX"}},
		"argument":     {DefaultAction: specs.ActAllow, Syscalls: rule(specs.ActErrno, specs.LinuxSeccompArg{Index: 6, Op: specs.OpEqualTo})},
		"operator":     {DefaultAction: specs.ActAllow, Syscalls: rule(specs.ActErrno, specs.LinuxSeccompArg{Op: "SCMP_CMP_ABOUT"})},
		"length":       {DefaultAction: specs.ActAllow, Syscalls: many},
	} {
		if _, err := Compile(p); !errors.Is(err, ErrProfile) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// Jumps over many instructions.
	program, err := Compile(&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: many[:500]})
	if err != nil {
		t.Fatal(err)
	}
	read := call{number: numberOf(t, "read"), arch: architectures[native].audit}
	for n, want := range map[uint64]uint32{0: unix.SECCOMP_RET_ERRNO | 1, 499 << 20: unix.SECCOMP_RET_ERRNO | 1, 500 << 20: unix.SECCOMP_RET_ALLOW, 7: unix.SECCOMP_RET_ALLOW} {
		read.args[1] = n
		if got := evaluate(t, program, read); got != want {
			t.Errorf("argument %#x: %#x, want %#x", n, got, want)
		}
	}
}

func numberOf(t *testing.T, name string) uint32 {
	t.Helper()
	numbers, err := architectures[native].numbers()
	if err != nil {
		t.Fatal(err)
	}
	return numbers[name]
}
