//go:build linux

package userns

import (
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// setting reads a file of the machine that holds one value.
type setting func(path string) string

func ofMachine(path string) string {
	text, _ := os.ReadFile(path)
	return string(text)
}

// is says that a sysctl has a value.
func (read setting) is(name, value string) bool {
	return strings.TrimSpace(read("/proc/sys/"+strings.ReplaceAll(name, ".", "/"))) == value
}

// What a container is to be started with for what its default profile refuses.
const unconfined = "start the container with a system-call filter and a security profile that allow user namespaces and mounts, " +
	"as podman run has: docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined; " +
	"Kubernetes: securityContext with seccompProfile and appArmorProfile of type Unconfined"

// namespaceFix says what lets the namespaces be made that were refused with an errno. "" is an errno with which
// no machine refuses them.
func namespaceFix(errno syscall.Errno, read setting) string {
	switch errno {
	case syscall.ENOSPC:
		var fixes []string
		for _, name := range []string{"user.max_user_namespaces", "user.max_mnt_namespaces", "user.max_pid_namespaces"} {
			if read.is(name, "0") {
				fixes = append(fixes, "sudo sysctl -w "+name+"=15000")
			}
		}
		if fixes != nil {
			return strings.Join(fixes, "; ")
		}
		return "raise the sysctls user.max_user_namespaces, user.max_mnt_namespaces and user.max_pid_namespaces"
	case syscall.EPERM, syscall.EACCES:
		switch {
		case read.is("kernel.unprivileged_userns_clone", "0"):
			return "allow unprivileged user namespaces: sudo sysctl -w kernel.unprivileged_userns_clone=1"
		case strings.Contains(read("/proc/self/status"), "\nSeccomp:\t2\n"):
			return unconfined
		case read.is("kernel.apparmor_restrict_unprivileged_userns", "1"):
			return appArmorFix(program())
		}
		return "allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1, " +
			"kernel.apparmor_restrict_unprivileged_userns=0, or the container's seccomp profile); in a chroot the kernel makes none"
	case syscall.EINVAL:
		return "use a kernel with user namespaces (CONFIG_USER_NS)"
	}
	return ""
}

// MountFix says what lets things be mounted in a new mount namespace where that was refused.
func MountFix(err error) string { return mountFix(err, ofMachine) }

func mountFix(err error, read setting) string {
	switch {
	case err == unix.EINVAL:
		return "do not run it in a chroot, where nothing can be mounted"
	case read.is("kernel.apparmor_restrict_unprivileged_userns", "1"):
		return appArmorFix(program())
	}
	return unconfined
}

// program is the path of this program, to which profiles of AppArmor are bound.
func program() string {
	path, err := os.Readlink(self)
	if err != nil {
		return "/usr/local/bin/oakum"
	}
	return path
}

// appArmorFix allows one program what AppArmor takes from others in user namespaces (apparmor.d(5)).
func appArmorFix(path string) string {
	return fmt.Sprintf(`write a profile of AppArmor for this program: printf 'abi <abi/4.0>,\nprofile oakum "%s" flags=(unconfined) {\n  userns,\n}\n' | sudo tee /etc/apparmor.d/oakum && sudo apparmor_parser -r /etc/apparmor.d/oakum; `+
		"or for the whole machine: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0", path)
}
