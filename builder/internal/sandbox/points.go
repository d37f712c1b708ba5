//go:build linux

package sandbox

import (
	"path"
	"strings"
)

// Where a command sees files of the sandbox's own, which it may change for itself.
const (
	HostsFile  = "/etc/hosts"
	ResolvFile = "/etc/resolv.conf"
)

// MountPoints are those of every sandbox. What is below /dev is on the tmpfs there.
func MountPoints(c Command) []string {
	points := []string{"/dev/", "/proc/", "/sys/", ResolvFile}
	if !c.Network.NoHosts {
		points = append(points, HostsFile)
	}
	add := func(target string, isDir bool) {
		target = path.Clean(target)
		if strings.HasPrefix(target, "/dev/") {
			return
		}
		if isDir {
			target += "/"
		}
		points = append(points, target)
	}
	for _, m := range c.Mounts {
		add(m.Target, !m.Kind.IsFile())
	}
	for _, d := range c.Devices {
		add(d.Target, false)
	}
	return points
}
