//go:build linux

package filecopy

import (
	"context"
	"os"
	"path"
	"time"

	"golang.org/x/sys/unix"
)

// LimitTimes gives the time limit to all below a directory that has changed later, or
// with all to everything. Links are not followed.
func LimitTimes(dir *os.File, limit time.Time, all bool) error {
	ts, err := unix.TimeToTimespec(limit)
	if err != nil {
		return err
	}
	return limitTimes(dir, "", ts, all)
}

func limitTimes(dir *os.File, rel string, limit unix.Timespec, all bool) error {
	names, err := readNames(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		at := path.Join(rel, name)
		var st unix.Stat_t
		if err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return &os.PathError{Op: "stat", Path: at, Err: err}
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			sub, err := openChild(dir, name, unix.O_RDONLY|unix.O_DIRECTORY)
			if err != nil {
				return &os.PathError{Op: "open", Path: at, Err: err}
			}
			err = limitTimes(sub, at, limit, all)
			sub.Close()
			if err != nil {
				return err
			}
		}
		if !all && st.Mtim.Nano() <= limit.Nano() {
			continue
		}
		if err := unix.UtimesNanoAt(int(dir.Fd()), name, []unix.Timespec{limit, limit}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return &os.PathError{Op: "utimensat", Path: at, Err: err}
		}
	}
	return nil
}

// LatestTime is when the regular file below a directory that changed last did so; the
// zero time when there is none. Links are not followed.
func LatestTime(ctx context.Context, dir *os.File) (time.Time, error) {
	latest := time.Time{}
	err := latestTime(ctx, dir, "", &latest)
	return latest, err
}

func latestTime(ctx context.Context, dir *os.File, rel string, latest *time.Time) error {
	names, err := readNames(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		at := path.Join(rel, name)
		var st unix.Stat_t
		if err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return &os.PathError{Op: "stat", Path: at, Err: err}
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			if changed := time.Unix(st.Mtim.Unix()); latest.IsZero() || changed.After(*latest) {
				*latest = changed
			}
		case unix.S_IFDIR:
			sub, err := openChild(dir, name, unix.O_RDONLY|unix.O_DIRECTORY)
			if err != nil {
				return &os.PathError{Op: "open", Path: at, Err: err}
			}
			err = latestTime(ctx, sub, at, latest)
			sub.Close()
			if err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}
