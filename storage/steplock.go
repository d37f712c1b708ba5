//go:build linux

package storage

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// A step that several processes want at once is done by one of them; the others wait for what it gives. Who does a
// step has locked bytes of the file "steps", one for each of its names, at the place that a hash of the name says.
// That file is empty and stays so. So there is nothing to clean up, whatever number of steps there is, and locks (of an open file, F_OFD_SETLK)
// end with the process that has them. Of two names of which another process has one, none is kept while that is waited for,
// so no two processes wait for each other.
const stepsFile = "steps"

// LockStep keeps others, in this process and in others, from doing a step that has one of these names, until release is
// called. It waits for those that do, until ctx ends, and calls tell once if that takes long.
func (s *Store) LockStep(ctx context.Context, tell func(), names ...string) (release func(), err error) {
	f, err := s.private.OpenFile(stepsFile, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	places := make([]int64, len(names))
	for i, name := range names {
		sum := sha256.Sum256([]byte(name))
		places[i] = int64(binary.BigEndian.Uint64(sum[:8]) >> 2) // its end must not overflow
	}
	slices.Sort(places)
	places = slices.Compact(places)
	if err := (&waiting{tell: tell}).lock(ctx, f, func() error { return lockPlaces(f, places) }); err != nil {
		return nil, errors.Join(err, setLock(f, unix.F_UNLCK, 0, 0), f.Close())
	}
	return func() { _ = errors.Join(setLock(f, unix.F_UNLCK, 0, 0), f.Close()) }, nil
}

// lockPlaces locks all places or none.
func lockPlaces(f *os.File, places []int64) error {
	for _, at := range places {
		err := setLock(f, unix.F_WRLCK, at, 1)
		if err != nil {
			return errors.Join(err, setLock(f, unix.F_UNLCK, 0, 0))
		}
	}
	return nil
}

func setLock(f *os.File, how int16, at, length int64) error {
	for {
		err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: how, Start: at, Len: length})
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
