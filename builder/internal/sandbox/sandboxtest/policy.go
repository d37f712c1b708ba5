//go:build linux

package sandboxtest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// policy is Docker's profile of system calls, read independently of who makes a filter of it.
type policy struct{ rules []specs.LinuxSyscall }

func dockerPolicy(t testing.TB, capabilities []string) policy {
	t.Helper()
	spec := &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: capabilities}}}
	p, err := seccomp.GetDefaultProfile(spec)
	ok(t, err)
	if p.DefaultAction != specs.ActErrno || p.DefaultErrnoRet == nil || *p.DefaultErrnoRet != uint(unix.EPERM) {
		t.Fatalf("Docker's profile refuses by %v", p.DefaultAction)
	}
	return policy{p.Syscalls}
}

// refuses gives the error of a call that is refused, and "" for one that is let through.
// Rules that let a call through win.
func (p policy) refuses(call string) string {
	name, args := parseCall(call)
	refusal := "EPERM"
	for _, rule := range p.rules {
		if !slices.Contains(rule.Names, name) || slices.ContainsFunc(rule.Args, func(a specs.LinuxSeccompArg) bool { return !holds(a, args[a.Index]) }) {
			continue
		}
		if rule.Action == specs.ActAllow {
			return ""
		}
		if rule.ErrnoRet != nil {
			refusal = unix.ErrnoName(unix.Errno(*rule.ErrnoRet))
		}
	}
	return refusal
}

// knows says whether a rule has a call's name.
func (p policy) knows(name string) bool {
	return slices.ContainsFunc(p.rules, func(r specs.LinuxSyscall) bool { return slices.Contains(r.Names, name) })
}

// parseCall reads NAME or NAME,A,B… as the probe does.
func parseCall(call string) (name string, args [6]uint64) {
	fields := strings.Split(call, ",")
	if len(fields) == 1 {
		return call, [6]uint64{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}
	}
	for i, field := range fields[1:] {
		args[i], _ = strconv.ParseUint(field, 0, 64)
	}
	return fields[0], args
}

func holds(a specs.LinuxSeccompArg, arg uint64) bool {
	switch a.Op {
	case specs.OpNotEqual:
		return arg != a.Value
	case specs.OpLessThan:
		return arg < a.Value
	case specs.OpLessEqual:
		return arg <= a.Value
	case specs.OpEqualTo:
		return arg == a.Value
	case specs.OpGreaterEqual:
		return arg >= a.Value
	case specs.OpGreaterThan:
		return arg > a.Value
	case specs.OpMaskedEqual:
		return arg&a.Value == a.ValueTwo
	}
	return false
}

// families of sockets: the last three lead to the kernel's ciphers (CVE-2026-31431), to
// Kernel Connection Multiplexor, and to the hypervisor.
var families = []int{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK, unix.AF_PACKET, unix.AF_NFC, unix.AF_ALG, unix.AF_KCM, unix.AF_VSOCK}

// argumentClasses are calls for the probe of which the arguments decide: new namespaces,
// personalities, families of sockets, also with bits that the kernel does not look at. Beside
// them are calls that would succeed, or say something else than EPERM, without a filter.
func argumentClasses() []string {
	var calls []string
	for _, flag := range []int{0, unix.CLONE_NEWNS, unix.CLONE_NEWCGROUP, unix.CLONE_NEWUTS, unix.CLONE_NEWIPC, unix.CLONE_NEWUSER, unix.CLONE_NEWPID, unix.CLONE_NEWNET} {
		calls = append(calls, fmt.Sprintf("clone,%#x,0", flag|int(unix.SIGCHLD)))
		if flag != 0 {
			calls = append(calls, fmt.Sprintf("unshare,%#x", flag), fmt.Sprintf("setns,-1,%#x", flag))
		}
	}
	for _, p := range []int{0, 8, 0x20000, 0x20008, 0xffffffff, 0x40000, 0x400000, 3} {
		calls = append(calls, fmt.Sprintf("personality,%#x", p))
	}
	for _, family := range families {
		for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_SEQPACKET} {
			calls = append(calls, fmt.Sprintf("socket,%d,%d", family, kind), fmt.Sprintf("socket,%#x,%d", 1<<32|family, kind))
		}
	}
	return append(calls, "clone3,0,0", "ptrace,0,0,0,0", "keyctl,0,0xfffffffd,0", "add_key,0,0,0,0,0", "bpf,0,0,0", "userfaultfd,0", "io_uring_setup,1,0",
		"open_by_handle_at,-1,0,0", "fsopen,0,0", "reboot,0,0,0", "iopl,0", "kexec_load,0,0,0,0", "swapoff,0", "umount2,0,0", "mount,0,0,0,0,0", "pivot_root,0,0",
		"process_vm_readv,1,0,0,0,0,0", "chroot,0", "mknodat,-100,0,0,0", "settimeofday,0,0", "quotactl,0,0,0,0", "acct,1")
}
