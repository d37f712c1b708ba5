//go:build linux

package storage

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Who removes something first writes the lists anew in which it was, beside those that are there: on a file system that is
// full to the last block nothing could be removed. So a store has a file whose blocks are let go of then, and
// are had again once there is room.
const (
	reserveFile = "reserve"
	reserveUnit = 128 << 10
	// roomy is how many times a reserve the file system must have left when one is made.
	roomy = 64
)

// wantedReserve is for each list twice, and for what else is written: locks, directories, notes.
func (s *Store) wantedReserve() int64 {
	var lists int64
	for _, list := range []string{"images/images.json", "layers/layers.json"} {
		if st, err := os.Stat(filepath.Join(s.layersRoot(), s.Driver()+"-"+list)); err == nil {
			lists += st.Size()
		}
	}
	return (2*lists/reserveUnit + 1) * reserveUnit
}

// makeRoom lets go of the reserve where the file system has less left than that. It is called before something is written
// on the way to a removal. What it cannot do is told by the write that fails.
func (s *Store) makeRoom() {
	if free, err := s.free(); err == nil && free < s.wantedReserve() && s.private.Remove(reserveFile) == nil {
		s.private.reserveGone.Store(true)
	}
}

// makeRoomEnds has the reserve again that makeRoom let go of, if there is just room for it now: else a build that
// found no room would leave the store without.
func (s *Store) makeRoomEnds() {
	if s.private.Root != nil && s.private.reserveGone.Load() {
		s.reserve(s.wantedReserve())
	}
}

// keepReserve makes the reserve, or makes it as large as it should be, where there is room in plenty. A file system that cannot
// set blocks aside has none.
func (s *Store) keepReserve() {
	want := s.wantedReserve()
	if st, err := s.private.Stat(reserveFile); err == nil && st.Size() >= want {
		return
	}
	if free, err := s.free(); err != nil || free < roomy*want {
		return
	}
	s.reserve(want)
}

func (s *Store) reserve(size int64) {
	f, err := s.private.OpenFile(reserveFile, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	if unix.Fallocate(int(f.Fd()), 0, 0, size) != nil {
		_ = s.private.Remove(reserveFile)
	}
}
