//go:build linux

package input

import (
	"bytes"
	"maps"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func stat(ino uint64, size int64, mtime, ctime time.Time) *unix.Stat_t {
	return &unix.Stat_t{Dev: 1, Ino: ino, Size: size, Mtim: unix.NsecToTimespec(mtime.UnixNano()), Ctim: unix.NsecToTimespec(ctime.UnixNano())}
}

func TestFileSums(t *testing.T) {
	t.Parallel()
	now := time.Now()
	old := now.Add(-time.Hour)
	s := &fileSums{name: "x", began: now, sums: map[fileKey]*record{}}
	s.Put(stat(1, 10, old, old), [32]byte{1})
	s.Put(stat(2, 10, old, now.Add(-time.Millisecond)), [32]byte{2}) // may change within the tick
	s.Put(stat(3, 10, old, now.Add(time.Hour)), [32]byte{3})         // the clock was set back
	for _, test := range []struct {
		name string
		st   *unix.Stat_t
		want bool
	}{
		{"the same", stat(1, 10, old, old), true},
		{"another size", stat(1, 11, old, old), false},
		{"another mtime", stat(1, 10, old.Add(1), old), false},
		{"another ctime", stat(1, 10, old, old.Add(1)), false},
		{"another file", stat(9, 10, old, old), false},
		{"too new", stat(2, 10, old, now.Add(-time.Millisecond)), false},
		{"of the future", stat(3, 10, old, now.Add(time.Hour)), false},
	} {
		sum, ok := s.Get(test.st)
		if ok != test.want || ok && sum != [32]byte{1} || !ok && sum != [32]byte{} {
			t.Errorf("%s: got %x, %v", test.name, sum[:1], ok)
		}
	}
	if got := decodeSums(encodeSums(s.sums)); !alike(got, s.sums) || len(got) != 1 {
		t.Errorf("wrote %v, read %v", s.sums, got)
	}
}

// alike compares what is written of records.
func alike(a, b map[fileKey]*record) bool {
	return maps.EqualFunc(a, b, func(a, b *record) bool {
		return a.Size == b.Size && a.Mtime == b.Mtime && a.Ctime == b.Ctime && a.Sum == b.Sum
	})
}

// A time that a file system keeps in coarse steps says less of when a file changed.
func TestFileSumsOfCoarseTimes(t *testing.T) {
	t.Parallel()
	began := time.Unix(1e9, 900e6)
	for _, test := range []struct {
		name         string
		mtime, ctime time.Time
		want         bool
	}{
		{"whole seconds, in this one", time.Unix(1e9, 0), time.Unix(1e9, 0), false},
		{"whole seconds, in the one before", time.Unix(1e9-1, 0), time.Unix(1e9-1, 0), false},
		{"whole seconds, some before", time.Unix(1e9-3, 0), time.Unix(1e9-3, 0), true},
		{"whole seconds, with an older mtime", time.Unix(1e8, 0), time.Unix(1e9, 0), false},
		{"hundredths of seconds, in this one", time.Unix(1e9, 890e6), time.Unix(1e9, 890e6), false},
		{"hundredths of seconds, some before", time.Unix(1e9, 820e6), time.Unix(1e9, 820e6), true},
		{"nanoseconds", time.Unix(1e9, 840e6+1), time.Unix(1e9, 840e6+1), true},
		{"no ctime", time.Unix(1e9, 0), time.Unix(0, 0), false},
		{"no ctime, old", time.Unix(1e9-3, 0), time.Unix(0, 0), true},
		{"the ctime of the file's creation", time.Unix(1e9, 0), time.Unix(1e8, 7), false},
		{"an mtime of the future", time.Unix(2e9, 0), time.Unix(1e9, 840e6+1), true},
	} {
		s := &fileSums{name: "x", began: began, sums: map[fileKey]*record{}}
		st := stat(1, 10, test.mtime, test.ctime)
		s.Put(st, [32]byte{1})
		if _, ok := s.Get(st); ok != test.want {
			t.Errorf("%s: remembered: %t", test.name, ok)
		}
	}
}

func FuzzSums(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, recordLen))
	f.Add(bytes.Repeat([]byte{7}, 3*recordLen-1))
	f.Fuzz(func(t *testing.T, data []byte) {
		sums := decodeSums(data)
		if len(sums) > len(data)/recordLen {
			t.Errorf("%d records of %d bytes", len(sums), len(data))
		}
		if again := decodeSums(encodeSums(sums)); !alike(again, sums) {
			t.Errorf("wrote %v, read %v", sums, again)
		}
	})
}
