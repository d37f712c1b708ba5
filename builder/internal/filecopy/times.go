//go:build linux

package filecopy

import (
	"context"
	"fmt"
	"os"
	"path"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/owners"
)

// LimitTimes gives the time limit to all below a directory that has changed later, or
// with all to everything. Links are not followed.
func LimitTimes(dir *os.File, limit time.Time, all bool) error {
	ts, err := unix.TimeToTimespec(limit)
	if err != nil {
		return err
	}
	return eachBelow(dir, nil, "", func(in *os.File, name, at string, st *unix.Stat_t) error {
		if !all && st.Mtim.Nano() <= ts.Nano() {
			return nil
		}
		if err := unix.UtimesNanoAt(int(in.Fd()), name, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return &os.PathError{Op: "utimensat", Path: at, Err: err}
		}
		return nil
	})
}

// LatestTime is when the regular file below a directory that changed last did so; the
// zero time when there is none. Links are not followed.
func LatestTime(ctx context.Context, dir *os.File, own *owners.Owners) (time.Time, error) {
	latest := time.Time{}
	err := eachBelow(dir, own, "", func(_ *os.File, _, _ string, st *unix.Stat_t) error {
		changed := time.Unix(st.Mtim.Unix())
		if st.Mode&unix.S_IFMT == unix.S_IFREG && (latest.IsZero() || changed.After(latest)) {
			latest = changed
		}
		return ctx.Err()
	})
	return latest, err
}

// eachBelow calls visit for all below dir, a directory after what is in it: with the
// directory that holds it, its name there and its path from the first dir.
func eachBelow(dir *os.File, own *owners.Owners, rel string, visit func(in *os.File, name, at string, st *unix.Stat_t) error) error {
	names, err := readNames(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		at := path.Join(rel, name)
		var st unix.Stat_t
		if err := own.Stat(dir, name, &st); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			sub, err := openChild(dir, name, unix.O_RDONLY|unix.O_DIRECTORY)
			if err != nil {
				return &os.PathError{Op: "open", Path: at, Err: err}
			}
			err = eachBelow(sub, own, at, visit)
			sub.Close()
			if err != nil {
				return err
			}
		}
		if err := visit(dir, name, at, &st); err != nil {
			return err
		}
	}
	return nil
}
