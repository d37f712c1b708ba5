//go:build linux

package rights

import (
	"fmt"
	"os"
	"slices"
	"strings"

	profiles "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/isolation"
	"github.com/oakum-build/oakum/builder/limits"
	"github.com/oakum-build/oakum/storage/openat2"
)

// filter is Docker's system-call filter for some capabilities, or the one that was asked for. With
// i386 it lets 32-bit programs run on x86-64.
func filter(s isolation.Security, capabilities []string, i386 bool) (*specs.LinuxSeccomp, error) {
	if s.Seccomp == isolation.Unconfined || s.Insecure && s.Seccomp == "" {
		return nil, nil
	}
	spec := &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: capabilities}}}
	var profile *specs.LinuxSeccomp
	var err error
	if s.Seccomp == "" {
		profile, err = profiles.GetDefaultProfile(spec)
	} else if err = s.Check(); err == nil { // the text may be such that it would stand for no filter
		profile, err = profiles.LoadProfile(s.Seccomp, spec)
	}
	if err != nil {
		return nil, err
	}
	if s.Seccomp != "" {
		if err := checkNames(profile); err != nil {
			return nil, err
		}
	}
	// The rules are compiled for each architecture and command: for i386 that takes three
	// times as long as for x86-64 alone. The x32 ABI is off in distributions' kernels.
	profile.Architectures = slices.DeleteFunc(profile.Architectures, func(a specs.Arch) bool {
		return a == specs.ArchX32 || a == specs.ArchX86 && !i386
	})
	return profile, nil
}

// checkNames refuses a filter that would let through a call that it means to refuse, because
// nobody knows the call's name. A name in a rule that lets through may be one of a later kernel's, and
// is passed over by all who make filters.
func checkNames(profile *specs.LinuxSeccomp) error {
	if refuses(profile.DefaultAction) {
		return nil
	}
	var known map[string]bool
	for _, rule := range profile.Syscalls {
		if !refuses(rule.Action) {
			continue
		}
		if known == nil {
			known = callNames()
		}
		for _, name := range rule.Names {
			if !known[name] {
				return fmt.Errorf("%w: seccomp profile: there is no system call %q that it could refuse", limits.ErrInvalid, name)
			}
		}
	}
	return nil
}

// refuses says whether an action keeps a call from being done.
func refuses(action specs.LinuxSeccompAction) bool {
	return action != specs.ActAllow && action != specs.ActLog
}

// callNames are the names of the system calls of all architectures: those of Docker's profile, which
// names what it lets through, at least of some capability, and those that it never does.
func callNames() map[string]bool {
	names := map[string]bool{}
	for _, rule := range profiles.DefaultProfile().Syscalls {
		for _, name := range rule.Names {
			names[name] = true
		}
	}
	for _, name := range neverAllowed {
		names[name] = true
	}
	return names
}

// neverAllowed are system calls that Docker's profile does not name.
var neverAllowed = strings.Fields(`_sysctl add_key afs_syscall bdflush break cachectl create_module epoll_ctl_old epoll_wait_old ftime get_kernel_syms get_tls
	getpmsg gtty idle io_uring_enter io_uring_register io_uring_setup kexec_file_load kexec_load keyctl lock migrate_pages move_pages mpx multiplexer nfsservctl
	nice oldfstat oldlstat oldolduname oldstat olduname pciconfig_iobase pciconfig_read pciconfig_write pivot_root prof profil putpmsg query_module readdir
	request_key rtas s390_guarded_storage s390_sthyi security sgetmask sigaction signal sigpending sigsuspend spu_create spu_run ssetmask stty subpage_prot
	swapoff swapon switch_endian sys_debug_setcontext syscall sysfs sysmips timerfd tuxcall ulimit uselib userfaultfd usr26 usr32 ustat vm86 vm86old vserver`)

// loaders are the dynamic linkers of 32-bit programs on x86.
var loaders = []string{"/lib/ld-linux.so.2", "/lib/ld-musl-i386.so.1"}

// Has32Bit says whether a root file system can run 32-bit programs of x86: it has a
// dynamic linker for them.
func Has32Bit(root *os.File) bool {
	for _, name := range loaders {
		fd, err := openat2.Open(int(root.Fd()), name, &unix.OpenHow{
			Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
		})
		if err == nil {
			unix.Close(fd)
			return true
		}
	}
	return false
}
