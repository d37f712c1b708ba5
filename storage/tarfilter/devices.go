//go:build linux

package tarfilter

import (
	"bytes"
	"os"

	"golang.org/x/sys/unix"
)

// MayMakeDevices says whether this process can make device nodes, which in a user namespace nobody
// can.
func MayMakeDevices() bool {
	ids, err := os.ReadFile("/proc/self/uid_map")
	if err != nil || !bytes.Contains(ids, []byte(" 4294967295")) {
		return false
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&header, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_MKNOD) != 0
}
