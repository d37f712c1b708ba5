//go:build linux

// Package filter compiles a profile of system calls to the program with which the kernel
// filters them (seccomp(2)), without libseccomp. A profile is that of the OCI runtime
// specification (config-linux.md, Seccomp), whose rules are read as runc and libseccomp read
// them:
//
//   - A rule without conditions decides about its calls, whatever rules with conditions say of
//     them; of several without conditions, the first. Else the first rule decides whose
//     conditions hold, and else the default action.
//   - Conditions about the same argument in one rule are alternatives; all others must hold
//     together.
//   - A call that is newer than all that the profile names does not exist (ENOSYS), so that
//     programs fall back on what they did before there was such a call.
//   - The one call by which 32-bit x86 programs make sockets is refused, whatever the profile says.
//   - Calls of an architecture that the profile does not have end the thread.
package filter

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Program is what seccomp(2) takes.
type Program []unix.SockFilter

// ErrProfile is matched by the errors of profiles that cannot be compiled.
var ErrProfile = errors.New("seccomp profile")

// maxProgram is the kernel's own limit (BPF_MAXINSNS).
const maxProgram = 4096

// Compile makes the program of a profile for a kernel of this machine's architecture. A profile
// that names no architecture is for that one alone. Names of calls that an architecture does not
// have are passed over.
func Compile(profile *specs.LinuxSeccomp) (Program, error) {
	fallback, err := action(profile.DefaultAction, profile.DefaultErrnoRet)
	if err != nil {
		return nil, err
	}
	archs := profile.Architectures
	if len(archs) == 0 {
		archs = []specs.Arch{native}
	}
	var out Program
	for _, name := range archs {
		a, known := architectures[name]
		if !known {
			if name == specs.ArchX32 {
				continue // refused with all that is not named, as x32 is off in distributions' kernels
			}
			return nil, fmt.Errorf("%w: architecture %q is not known", ErrProfile, name)
		}
		t, err := newTable(profile, a, fallback)
		if err != nil {
			return nil, err
		}
		code := t.program()
		out = append(out, load(offsetArch))
		out = append(out, skipUnless(a.audit, code)...)
	}
	out = append(out, result(unix.SECCOMP_RET_KILL_THREAD))
	if len(out) > maxProgram {
		return nil, fmt.Errorf("%w: it makes a program of %d instructions, and the kernel takes %d", ErrProfile, len(out), maxProgram)
	}
	return out, nil
}

// action is the value that the kernel knows an action by.
func action(a specs.LinuxSeccompAction, errno *uint) (uint32, error) {
	data := uint32(unix.EPERM)
	if errno != nil {
		data = uint32(*errno) & unix.SECCOMP_RET_DATA
	}
	switch a {
	case specs.ActKill, specs.ActKillThread:
		return unix.SECCOMP_RET_KILL_THREAD, nil
	case specs.ActKillProcess:
		return unix.SECCOMP_RET_KILL_PROCESS, nil
	case specs.ActTrap:
		return unix.SECCOMP_RET_TRAP, nil
	case specs.ActErrno:
		return unix.SECCOMP_RET_ERRNO | data, nil
	case specs.ActTrace:
		return unix.SECCOMP_RET_TRACE | data, nil
	case specs.ActLog:
		return unix.SECCOMP_RET_LOG, nil
	case specs.ActAllow:
		return unix.SECCOMP_RET_ALLOW, nil
	}
	return 0, fmt.Errorf("%w: action %q is not known here", ErrProfile, a)
}

// lets says whether an action lets calls through, so that those which the profile's author did
// not know go through too.
func lets(action uint32) bool {
	switch action & unix.SECCOMP_RET_ACTION_FULL {
	case unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_LOG, unix.SECCOMP_RET_TRACE:
		return true
	}
	return false
}

// table is what becomes of the calls of one architecture.
type table struct {
	arch     architecture
	fallback uint32
	calls    map[uint32]*decision
	last     uint32 // the newest call that the profile names
	knows    bool   // the profile names one
}

// decision is what becomes of one call.
type decision struct {
	always bool
	action uint32 // if always
	rules  []rule // in their order, otherwise
}

type rule struct {
	conditions []specs.LinuxSeccompArg // all must hold
	action     uint32
}

func newTable(profile *specs.LinuxSeccomp, a architecture, fallback uint32) (*table, error) {
	numbers, err := a.numbers()
	if err != nil {
		return nil, err
	}
	t := &table{arch: a, fallback: fallback, calls: map[uint32]*decision{}}
	for _, s := range profile.Syscalls {
		act, err := action(s.Action, s.ErrnoRet)
		if err != nil {
			return nil, err
		}
		alternatives, err := split(s.Args)
		if err != nil {
			return nil, err
		}
		for _, name := range s.Names {
			number, has := numbers[name]
			if !has {
				continue
			}
			t.knows = true
			if number < private {
				t.last = max(t.last, number)
			}
			if act != fallback { // runc passes such a rule over, too
				t.add(number, alternatives, act)
			}
		}
	}
	return t, nil
}

// private is above all calls but those of ARM alone, which are far away from the others.
const private = 0xf0000

// split gives the lists of conditions of which one must hold.
func split(args []specs.LinuxSeccompArg) ([][]specs.LinuxSeccompArg, error) {
	seen, alternatives := map[uint]bool{}, false
	for _, a := range args {
		if a.Index > 5 {
			return nil, fmt.Errorf("%w: a system call has no argument %d", ErrProfile, a.Index)
		}
		if _, err := (test{LinuxSeccompArg: a}).skip(0, 0); err != nil {
			return nil, err
		}
		alternatives = alternatives || seen[a.Index]
		seen[a.Index] = true
	}
	if !alternatives {
		return [][]specs.LinuxSeccompArg{args}, nil
	}
	var lists [][]specs.LinuxSeccompArg
	for _, a := range args {
		lists = append(lists, []specs.LinuxSeccompArg{a})
	}
	return lists, nil
}

func (t *table) add(number uint32, alternatives [][]specs.LinuxSeccompArg, act uint32) {
	d := t.calls[number]
	if d == nil {
		d = &decision{}
		t.calls[number] = d
	}
	for _, conditions := range alternatives {
		switch {
		case d.always:
		case len(conditions) == 0:
			*d = decision{always: true, action: act}
		default:
			d.rules = append(d.rules, rule{conditions, act})
		}
	}
}

// span is a range of numbers of which the same becomes, from first to where the next begins.
type span struct {
	first uint32
	code  []unix.SockFilter
}

// program decides by the number of a call.
func (t *table) program() []unix.SockFilter {
	spans := []span{{0, []unix.SockFilter{result(t.fallback)}}}
	begin := func(first uint32, code ...unix.SockFilter) {
		last := &spans[len(spans)-1]
		switch {
		case slices.Equal(last.code, code) && len(code) == 1: // conditions are not worth it
		case last.first == first:
			last.code = code
		default:
			spans = append(spans, span{first, code})
		}
	}
	numbers := make([]uint32, 0, len(t.calls))
	for n := range t.calls {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	for i, n := range numbers {
		if i > 0 && numbers[i-1]+1 < n {
			begin(numbers[i-1]+1, result(t.fallback))
		}
		begin(n, t.calls[n].program(t.arch.narrow, t.fallback)...)
	}
	if len(numbers) > 0 {
		begin(numbers[len(numbers)-1]+1, result(t.fallback))
	}
	if t.knows && !lets(t.fallback) {
		end := slices.IndexFunc(spans, func(s span) bool { return s.first > t.last })
		if end >= 0 {
			spans = spans[:end]
		}
		begin(t.last+1, result(unix.SECCOMP_RET_ERRNO|uint32(unix.ENOSYS)))
	}
	if t.arch.x32 {
		spans = append(spans, span{x32Bit, []unix.SockFilter{result(unix.SECCOMP_RET_KILL_THREAD)}})
	}
	slices.SortStableFunc(spans, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	code := append([]unix.SockFilter{load(offsetNumber)}, search(spans)...)
	if t.arch.goarch != "386" {
		return code
	}
	return append(i386Sockets(), code...)
}

// i386Sockets refuses to make sockets by i386's socketcall, whatever the profile says. Docker's lets it
// through, since no filter sees the arguments, which are in memory: it would lead to the hypervisor
// (AF_VSOCK) and to the kernel's ciphers (AF_ALG, CVE-2026-31431). The system calls that do one
// thing each stay.
func i386Sockets() []unix.SockFilter {
	const socketcall, socket = 102, 1 // asm/unistd_32.h, linux/net.h
	refuse := append([]unix.SockFilter{load(lowHalf(0))}, skipUnless(socket, []unix.SockFilter{result(unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM))})...)
	return append([]unix.SockFilter{load(offsetNumber)}, skipUnless(socketcall, refuse)...)
}

// x32Bit is set in the numbers of calls of the x32 ABI.
const x32Bit = 0x40000000

// search finds the span of the number that is loaded, by halves.
func search(spans []span) []unix.SockFilter {
	if len(spans) == 1 {
		return spans[0].code
	}
	half := len(spans) / 2
	below, above := search(spans[:half]), search(spans[half:])
	return slices.Concat(jump(unix.BPF_JGE, spans[half].first, len(below), 0), below, above)
}

// program decides by the arguments.
func (d *decision) program(narrow bool, fallback uint32) []unix.SockFilter {
	if d.always {
		return []unix.SockFilter{result(d.action)}
	}
	var out []unix.SockFilter
	for _, r := range d.rules {
		code := []unix.SockFilter{result(r.action)}
		for _, c := range slices.Backward(r.conditions) {
			skip, _ := test{c, narrow}.skip(0, len(code)) // that it is known was seen before
			code = append(skip, code...)
		}
		out = append(out, code...)
	}
	return append(out, result(fallback))
}
