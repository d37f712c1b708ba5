//go:build linux

package overlay

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/mountpoint"
)

// prune takes the directories that were copied up for mount points out of an unmounted upper
// directory unless the command has changed something there.
func prune(upper string, traces *mountpoint.Traces) {
	root, err := os.OpenFile(upper, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return
	}
	defer root.Close()
	traces.Untouched(root, func(dir *os.File, name, _ string) {
		var st unix.Stat_t
		if unix.Fstat(int(dir.Fd()), &st) == nil && !opaque(dir, name) && unix.Unlinkat(int(dir.Fd()), name, unix.AT_REMOVEDIR) == nil {
			_ = unix.UtimesNanoAt(int(dir.Fd()), ".", []unix.Timespec{{Nsec: unix.UTIME_OMIT}, st.Mtim}, 0)
		}
	})
}

// opaque says whether a directory of an upper layer hides those below it.
func opaque(dir *os.File, name string) bool {
	file := fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name)
	for _, space := range []string{"trusted", "user"} {
		if _, err := unix.Lgetxattr(file, space+".overlay.opaque", nil); err == nil {
			return true
		}
	}
	return false
}
