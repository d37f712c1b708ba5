//go:build linux

package layertar

import (
	"archive/tar"
	"bytes"
	"cmp"
	"errors"
	"io"
	"strings"

	tarsplit "github.com/vbatts/tar-split/tar/storage"
	"golang.org/x/sys/unix"
)

// Ahead makes a layer's stream while its upper directory is being filled, of what is said to be written
// there, so that no file need be read again. Nothing of that is believed: Confirm compares it with the
// directory. So who fills it may say what the files will be before they are.
//
// Its methods are for one goroutine. The nil Ahead takes nothing.
type Ahead struct {
	out   *stream
	tw    *tar.Writer
	last  string // the path of the last entry
	left  int64  // of the content of that, which is to come
	ended bool
	times []limit
}

type limit struct {
	time unix.Timespec
	all  bool
}

// LimitTimes says that afterwards all files of later times, or all, will be given a time. The limits are
// kept in their order.
func (a *Ahead) LimitTimes(time unix.Timespec, all bool) {
	if a != nil {
		a.times = append(a.times, limit{time, all})
	}
}

// NewAhead begins a stream. The tar-split records go to split, and are of use only when Confirm says so.
// It must be ended by GiveUp or by Confirm.
func NewAhead(split io.Writer) *Ahead {
	out := newStream(tarsplit.NewJSONPacker(split))
	return &Ahead{out: out, tw: tar.NewWriter(out)}
}

var errNoEntry = errors.New("a tar cannot hold it")

// Going says whether what is added is still of use.
func (a *Ahead) Going() bool { return a != nil && !a.ended }

// GiveUp ends the stream: the directory is to be read.
func (a *Ahead) GiveUp() {
	if a.Going() {
		a.ended = true
		_, _ = a.out.finish()
	}
}

// Add adds the next entry: a path from the root, without a slash at the beginning, and what the file there will be,
// but for limits of its time. first is the path of the same file's first entry, "" for that, and target where a
// symbolic link leads. Where entries do not come in the order of the stream, each directory before what
// is in it and names sorted, it gives up.
func (a *Ahead) Add(path string, stat *unix.Stat_t, first, target string, attrs map[string]string) {
	if !a.Going() {
		return
	}
	if a.left > 0 || path == "" || order(a.last, path) >= 0 {
		a.GiveUp()
		return
	}
	a.last = path
	st := *stat
	for _, l := range a.times {
		if l.all || st.Mtim.Nano() > l.time.Nano() {
			st.Mtim = l.time
		}
	}
	if err := a.add(header(path, &st, first, target, attrs), &st); err != nil {
		a.GiveUp()
	}
}

// order compares two paths as a walk through a tree comes to them.
func order(a, b string) int {
	return cmp.Compare(strings.ReplaceAll(a, "/", "\x00"), strings.ReplaceAll(b, "/", "\x00"))
}

func (a *Ahead) add(hdr *tar.Header, st *unix.Stat_t) error {
	if hdr == nil {
		return errNoEntry
	}
	if err := a.tw.WriteHeader(hdr); err != nil {
		return err
	}
	if hdr.Typeflag != tar.TypeReg || hdr.Size == 0 {
		return a.out.noContent(hdr.Name)
	}
	a.left = hdr.Size
	a.out.begin(hdr, st)
	return nil
}

// Room is memory for content of the entry that was added last, 16 KiB or more, until the next call of a method. It is nil
// when what is added is of no use any more.
func (a *Ahead) Room() []byte {
	if !a.Going() {
		return nil
	}
	return a.out.room(leastRoom)
}

// Filled says how many bytes of content were put into Room. What was put there is not to be changed any more.
func (a *Ahead) Filled(n int) {
	if !a.Going() || n == 0 {
		return
	}
	if a.left -= int64(n); a.left < 0 || a.out.filled(n, a.tw) != nil {
		a.GiveUp()
		return
	}
	if a.left == 0 {
		a.out.end()
	}
}

// Confirm ends the stream, and compares it with the upper directory as that is now. ok says that what is in
// the stream is in the directory, in its order, and nothing else.
func (a *Ahead) Confirm(u Upper) (r Result, ok bool, err error) {
	if !a.Going() {
		return Result{}, false, nil
	}
	a.ended = true
	closed := a.tw.Close() // fails when content lacks
	sum, failed := a.out.finish()
	if closed != nil || failed != nil || a.left > 0 {
		return Result{}, false, nil
	}
	d := &drawing{outline: newOutline()}
	if r, err = u.walk(d); err != nil {
		return Result{}, false, err
	}
	d.cut()
	r.DiffID, r.Size = sum, a.out.size
	return r, bytes.Equal(d.sum.Sum(nil), a.out.outline.sum.Sum(nil)), nil
}
