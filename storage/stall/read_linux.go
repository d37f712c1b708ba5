package stall

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// read asks the kernel what has crossed a connection, and what has come and was not read.
func read(conn syscall.Conn) (t traffic, unread int, err error) {
	c, err := conn.SyscallConn()
	if err != nil {
		return t, 0, err
	}
	controlErr := c.Control(func(fd uintptr) {
		var info *unix.TCPInfo
		if info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			t = traffic{info.Bytes_received, info.Bytes_acked}
			unread, err = unix.IoctlGetInt(int(fd), unix.SIOCINQ)
		}
	})
	if controlErr != nil {
		return t, 0, controlErr
	}
	return t, unread, err
}
