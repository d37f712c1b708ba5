//go:build linux

package rights

import (
	"path"
	"slices"
	"strings"

	"github.com/oakum-build/oakum/builder/isolation"
)

var (
	// maskedPaths and readonlyPaths are those that Docker hides from containers, or makes
	// read-only.
	maskedPaths = []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
		"/sys/devices/virtual/powercap", "/sys/firmware",
	}
	readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
	// rootsPaths belong to root of the machine alone, and need no capability.
	rootsPaths = []string{
		"/proc/dynamic_debug", "/proc/kmsg", "/proc/kpagecgroup", "/proc/kpagecount", "/proc/kpageflags",
		"/proc/mtrr", "/proc/pagetypeinfo", "/proc/slabinfo", "/proc/tty/driver", "/proc/vmallocinfo",
	}
)

// unmasked says whether a path is among those that are not to be hidden or read-only.
func unmasked(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		found, err := path.Match(path.Clean(pattern), name)
		return strings.EqualFold(pattern, isolation.All) || err == nil && found
	})
}
