//go:build linux

package network

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/passwd"
)

// namespace is a network namespace that commands are put into, one after another.
type namespace struct {
	file *os.File
	link *connection // nil if it is not connected
}

// newNamespace makes a namespace whose loopback device is up. An error is a *errdefs.HostError.
func newNamespace() (*namespace, error) {
	ns := &namespace{}
	done := make(chan error, 1)
	go func() {
		// For ever: the thread, which is in the new namespace, ends with this goroutine. Others are
		// never made from one that is locked.
		runtime.LockOSThread()
		done <- ns.make()
	}()
	if err := <-done; err != nil {
		return nil, &errdefs.HostError{
			Missing: "making a network namespace: " + errors.Join(err, ns.close()).Error(),
			Remedy:  "raise the sysctl user.max_net_namespaces, have the outer container's seccomp profile allow unshare, or choose the network host",
		}
	}
	return ns, nil
}

// make puts the calling thread into the namespace.
func (ns *namespace) make() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	file, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	ns.file = file
	if err := loopback(); err != nil {
		return err
	}
	return settings()
}

// loopback sets the loopback device of the thread's namespace up.
func loopback() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(s)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	return os.NewSyscallError("ioctl", unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo))
}

// settings lets all users of the thread's namespace, also of another user namespace than its
// owner's, listen on each port and send echo requests, and has addresses of IPv6 usable at once.
func settings() error {
	_, gids, err := passwd.OwnIDs()
	if err != nil {
		return err
	}
	last := int64(0)
	for _, r := range gids {
		last = max(last, min(r.First+r.Count-1, 1<<31-1))
	}
	for name, value := range map[string]string{
		"ipv4/ip_unprivileged_port_start": "0",
		"ipv4/ping_group_range":           fmt.Sprintf("0 %d", last),
		"ipv6/conf/default/accept_dad":    "0", // nobody else is on the link
		"ipv6/conf/default/accept_ra":     "0",
	} {
		err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0)
		// A kernel without it, and an outer container that makes them read-only, give less.
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EROFS) && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	return nil
}

// alive says whether the namespace is still what it was made as.
func (ns *namespace) alive() bool { return ns.link == nil || ns.link.alive() }

// close ends what connects the namespace, which itself ends with the last process in it.
func (ns *namespace) close() error {
	if ns.link != nil {
		ns.link.close()
	}
	if ns.file == nil {
		return nil
	}
	return ns.file.Close()
}
