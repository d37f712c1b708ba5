//go:build linux && cgo && (amd64 || arm64)

package oci

import (
	"slices"
	"testing"

	"github.com/oakum-build/oakum/builder/internal/sandbox/sandboxtest"
	"github.com/oakum-build/oakum/builder/internal/sandbox/thread"
)

// meant are the differences of what a command finds in the sandbox of package thread from what it finds
// in this one.
var meant = []sandboxtest.Difference{
	{Name: "attribute death signal", Why: "the command's process is the worker's own child, and ends with it by two ways: this, and the PID namespace"},
	{Name: "mount /etc/hosts", Why: "the command's own files are on a tmpfs of its own, and not on the worker's"},
	{Name: "mount /etc/resolv.conf", Why: "the same"},
}

// hidden are directories that are hidden, as far as a machine has them: by an empty directory of the
// command's own tmpfs, where libcontainer makes a tmpfs for it.
var hidden = []string{"/proc/acpi", "/proc/asound", "/proc/scsi", "/proc/dynamic_debug", "/proc/tty/driver", "/sys/firmware", "/sys/devices/virtual/powercap"}

// TestDifferences holds the sandbox of package thread against libcontainer's.
func TestDifferences(t *testing.T) {
	ours, theirs := sandboxtest.Reports(t, thread.New), sandboxtest.Reports(t, New)
	meant := slices.Clone(meant)
	for _, name := range hidden {
		if _, there := theirs["root"]["mount "+name]; there {
			meant = append(meant, sandboxtest.Difference{Name: "mount " + name, Why: "an empty directory"})
		}
	}
	for user := range ours {
		if len(ours[user]) < 700 {
			t.Errorf("%s: only %d findings", user, len(ours[user]))
		}
		for _, line := range sandboxtest.Compare(ours[user], theirs[user], meant) {
			t.Errorf("%s: %s", user, line)
		}
	}
}
