//go:build linux

package input

import (
	"encoding/binary"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/zeebo/blake3"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/wholefile"
)

// fileSums remembers the digests of a directory's files from build to build, by what
// the kernel changes when the content does: a file with the same device, inode, size,
// mtime and ctime is not read again.
type fileSums struct {
	store *storage.Store
	name  string
	began time.Time
	mu    sync.Mutex
	sums  map[fileKey]*record
	dirty bool
}

type fileKey struct{ Dev, Ino uint64 }

type record struct {
	Size, Mtime, Ctime int64
	Sum                [32]byte
	seen               bool // it is of one of this step's files
}

const recordLen = 16 + 24 + 32

// settled is how old a change must be for its timestamp to tell it from the next one:
// the kernel's clock for files ticks every few milliseconds, and some file systems keep
// their times in steps of up to two seconds. A time that ends in zeros may be such a step.
func settled(change int64) time.Duration {
	step := int64(1)
	for step < int64(time.Second) && change%(10*step) == 0 {
		step *= 10
	}
	return 50*time.Millisecond + 2*time.Duration(step)
}

// maxRecords bounds what is remembered of a directory whose files come and go; then
// only those that the present step has met are kept.
const maxRecords = 1 << 17

// loadSums loads what is known of the files of a directory.
func loadSums(store *storage.Store, dir string) *fileSums {
	s := &fileSums{store: store, began: time.Now(), sums: map[fileKey]*record{}}
	h := blake3.New()
	fmt.Fprintf(h, "%q\n", dir)
	s.name = fmt.Sprintf("files/%x", h.Sum(nil)[:16])
	if data, err := s.store.Private().ReadFile(s.name); err == nil {
		s.sums = decodeSums(data)
	}
	return s
}

// decodeSums gives nothing for what encodeSums did not write.
func decodeSums(data []byte) map[fileKey]*record {
	if len(data)%recordLen != 0 {
		return map[fileKey]*record{}
	}
	// Neither grows, for of a large directory that would take longer than all else here.
	records := make([]record, 0, len(data)/recordLen)
	sums := make(map[fileKey]*record, len(data)/recordLen)
	for ; len(data) > 0; data = data[recordLen:] {
		n := func(i int) uint64 { return binary.LittleEndian.Uint64(data[8*i:]) }
		records = append(records, record{Size: int64(n(2)), Mtime: int64(n(3)), Ctime: int64(n(4)), Sum: [32]byte(data[40:recordLen])})
		sums[fileKey{n(0), n(1)}] = &records[len(records)-1]
	}
	return sums
}

func encodeSums(sums map[fileKey]*record) []byte {
	data := make([]byte, 0, len(sums)*recordLen)
	for k, r := range sums {
		for _, n := range []uint64{k.Dev, k.Ino, uint64(r.Size), uint64(r.Mtime), uint64(r.Ctime)} {
			data = binary.LittleEndian.AppendUint64(data, n)
		}
		data = append(data, r.Sum[:]...)
	}
	return data
}

func stamp(st *unix.Stat_t) (mtime, ctime int64) { return st.Mtim.Nano(), st.Ctim.Nano() }

// Get gives the digest of a file that has not changed.
func (s *fileSums) Get(st *unix.Stat_t) ([32]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := fileKey{st.Dev, st.Ino}
	r, ok := s.sums[key]
	mtime, ctime := stamp(st)
	if !ok || r.Size != st.Size || r.Mtime != mtime || r.Ctime != ctime {
		return [32]byte{}, false
	}
	r.seen = true
	return r.Sum, true
}

// Put remembers a digest, unless the file changed so shortly before it was looked at
// that it may have changed again within the same tick of the clock.
func (s *fileSums) Put(st *unix.Stat_t, sum [32]byte) {
	mtime, ctime := stamp(st)
	change := ctime
	if mtime > ctime && mtime <= s.began.UnixNano() {
		change = mtime // a file system whose ctime is that of the file's creation, or none
	}
	if s.began.Sub(time.Unix(0, change)) < settled(change) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := fileKey{st.Dev, st.Ino}
	s.sums[key], s.dirty = &record{Size: st.Size, Mtime: mtime, Ctime: ctime, Sum: sum, seen: true}, true
}

// save writes what was added. The file is a cache: a lost write costs a digest.
func (s *fileSums) save() {
	if !s.dirty {
		return
	}
	if len(s.sums) > maxRecords {
		maps.DeleteFunc(s.sums, func(_ fileKey, r *record) bool { return !r.seen })
	}
	_ = wholefile.In(s.store.Private(), s.name, encodeSums(s.sums), 0o600)
}
