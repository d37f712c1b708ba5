//go:build linux

package network

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/procfs"
)

// A packet for a loopback address never leaves by the kernel's own choice, but a command can make one:
// by a packet socket, or with a socket bound to the device (SO_BINDTODEVICE), which needs no
// capability. pasta and slirp4netns connect to whatever address a packet is for, and they do it on the
// machine, where it leads to services that listen on loopback. So a filter in the device itself,
// behind all that a command has, drops such packets.

// loopbackFilter lets pass what arrives at the machine's end of the device (offsets of Ethernet II,
// RFC 791 and RFC 8200): ARP, and IP for all addresses but those by which a machine reaches itself:
// 127.0.0.0/8, 0.0.0.0/8, ::/96 (unspecified, loopback, IPv4-compatible), ::ffff:0:0/96 (IPv4-mapped).
var loopbackFilter = []unix.SockFilter{
	load(unix.BPF_H, 12), // the type
	{Code: equal, K: unix.ETH_P_ARP, Jt: 13},
	{Code: equal, K: unix.ETH_P_IP, Jt: 1},
	{Code: equal, K: unix.ETH_P_IPV6, Jt: 3, Jf: 10},
	load(unix.BPF_B, 14+16), // the destination's first byte
	{Code: equal, K: 127, Jt: 8},
	{Code: equal, K: 0, Jt: 7, Jf: 8},
	load(unix.BPF_W, 14+24), // the destination's first word, and so on
	{Code: equal, K: 0, Jf: 6},
	load(unix.BPF_W, 14+28),
	{Code: equal, K: 0, Jf: 4},
	load(unix.BPF_W, 14+32),
	{Code: equal, K: 0, Jt: 1},
	{Code: equal, K: 0xffff, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},         // none of it
	{Code: unix.BPF_RET | unix.BPF_K, K: 1<<32 - 1}, // all of it
}

const equal = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K

func load(size uint16, offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_ABS | size, K: offset}
}

// filterDevice puts the filter into the device of which a process holds the machine's end.
func filterDevice(pid int) error {
	number, err := procfs.Number(pid)
	if err == nil {
		number, err = deviceOf(number)
	}
	if err != nil {
		return err
	}
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(process)
	device, err := unix.PidfdGetfd(process, number, 0)
	if err != nil {
		return os.NewSyscallError("pidfd_getfd", err)
	}
	defer unix.Close(device)
	program := unix.SockFprog{Len: uint16(len(loopbackFilter)), Filter: &loopbackFilter[0]}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(device), unix.TUNATTACHFILTER, uintptr(unsafe.Pointer(&program)))
	runtime.KeepAlive(loopbackFilter)
	if errno != 0 {
		return os.NewSyscallError("ioctl TUNATTACHFILTER", errno)
	}
	return nil
}

// deviceOf is the number of the descriptor of a tun device that a process of /proc has, of which alone the kernel tells
// the interface.
func deviceOf(process int) (int, error) {
	infos, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", process))
	if err != nil {
		return 0, err
	}
	for _, name := range infos {
		text, err := os.ReadFile(name)
		if err == nil && bytes.Contains(text, []byte("\niff:\t")) {
			return strconv.Atoi(filepath.Base(name))
		}
	}
	return 0, errors.New("it has no network device")
}
