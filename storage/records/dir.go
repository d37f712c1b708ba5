package records

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	digest "github.com/opencontainers/go-digest"

	"github.com/oakum-build/oakum/storage/wholefile"
)

// Dir keeps records in the files of a directory, which several processes may use.
//
// A key's file has the key as its name, and a line for each record, the oldest first:
//
//	1 CONTENT BELOW CHAIN DIFFID SIZE CREATED CHECK
//
// The first word is the version of the format. Digests are hexadecimal, "-" for none; SIZE
// is in bytes; CREATED is as in RFC 3339. CHECK is the beginning of the SHA-256 of the key, a
// space, and the line up to the space before CHECK, so that a line that was cut short, damaged,
// or copied to another key's file is known for what it is. A line that does not fit is passed
// over, be it of another version or of nothing; Keep removes it. A file larger than maxFile
// has no records at all.
type Dir struct{ root *os.Root }

const (
	version  = "1"
	words    = 8
	checkLen = 16
	// maxFile is enough for what several processes could add before one of them sees
	// that there are too many lines; a line has less than 400 bytes.
	maxFile = 3 * MaxResults * 400
)

// OpenDir opens a directory of records, which must be there. It is closed with Close.
func OpenDir(path string) (*Dir, error) {
	root, err := os.OpenRoot(path)
	return &Dir{root}, err
}

// Close closes the directory.
func (d *Dir) Close() error { return d.root.Close() }

// Get gives the records of a key.
func (d *Dir) Get(ctx context.Context, key string) ([]Record, error) {
	if err := ctx.Err(); err != nil || !ValidKey(key) {
		return nil, err
	}
	lines, err := d.read(key)
	if err != nil {
		return nil, err
	}
	return newestFirst(parseLines(key, lines)), nil
}

// read gives the lines of a key's file. A file that is too large has none.
func (d *Dir) read(key string) ([]byte, error) {
	f, err := d.root.Open(key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data := make([]byte, 4096)
	for n := 0; ; {
		more, err := f.Read(data[n:])
		if n += more; err == io.EOF {
			return data[:n], nil
		}
		if err != nil {
			return nil, err
		}
		if n > maxFile {
			return nil, nil
		}
		if n == len(data) {
			data = append(data, make([]byte, len(data))...)
		}
	}
}

func parseLines(key string, data []byte) []Record {
	var out []Record
	for line := range bytes.Lines(data) {
		if r, ok := parse(key, strings.TrimSuffix(string(line), "\n")); ok {
			out = append(out, r)
		}
	}
	return out
}

func checkOf(key, line string) string {
	sum := sha256.Sum256([]byte(key + " " + line))
	return hex.EncodeToString(sum[:])[:checkLen]
}

// format writes a record's line, without its end.
func format(r Record) string {
	word := func(s string) string {
		if s == "" {
			return "-"
		}
		return s
	}
	hexOf := func(d digest.Digest) string { return word(strings.TrimPrefix(string(d), algorithm)) }
	line := strings.Join([]string{
		version, word(r.Content), hexOf(r.Below), hexOf(r.Chain), hexOf(r.DiffID),
		strconv.FormatInt(r.Size, 10), r.Created.UTC().Format(time.RFC3339Nano),
	}, " ")
	return line + " " + checkOf(r.Key, line)
}

// parse reads a line that format has written for this key, and no other.
func parse(key, line string) (Record, bool) {
	fields := strings.Split(line, " ")
	if len(fields) != words || fields[0] != version {
		return Record{}, false
	}
	digestOf := func(word string) digest.Digest {
		if word == "-" {
			return ""
		}
		return digest.Digest(algorithm + word)
	}
	r := Record{Key: key, Content: fields[1], Below: digestOf(fields[2]), Chain: digestOf(fields[3]), DiffID: digestOf(fields[4])}
	if r.Content == "-" {
		r.Content = ""
	}
	var err, timeErr error
	r.Size, err = strconv.ParseInt(fields[5], 10, 64)
	r.Created, timeErr = time.Parse(time.RFC3339Nano, fields[6])
	return r, errors.Join(err, timeErr) == nil && r.Check() == nil && format(r) == line
}

// Put adds a record.
func (d *Dir) Put(ctx context.Context, r Record) error {
	if err := errors.Join(ctx.Err(), r.Check()); err != nil {
		return err
	}
	return d.locked(syscall.LOCK_SH, func() error { return d.put(r) })
}

// locked calls do with the directory locked. Who removes records from files has it alone: what others put
// meanwhile would be lost.
func (d *Dir) locked(how int, do func() error) error {
	dir, err := d.root.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	for err = syscall.EINTR; err == syscall.EINTR; {
		err = syscall.Flock(int(dir.Fd()), how)
	}
	if err != nil {
		return &os.PathError{Op: "flock", Path: dir.Name(), Err: err}
	}
	return errors.Join(do(), syscall.Flock(int(dir.Fd()), syscall.LOCK_UN))
}

func (d *Dir) put(r Record) error {
	f, err := d.root.OpenFile(r.Key, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() > maxFile {
		return d.rewrite(r.Key, []Record{r})
	}
	var old []byte
	if info.Size() > 0 {
		if old, err = d.read(r.Key); err != nil {
			return err
		}
	}
	if bytes.Count(old, []byte("\n")) >= MaxResults {
		kept := parseLines(r.Key, old)
		return d.rewrite(r.Key, append(kept[max(0, len(kept)-MaxResults/2):], r))
	}
	line := format(r) + "\n"
	if len(old) > 0 && old[len(old)-1] != '\n' { // cut short by a crash
		line = "\n" + line
	}
	_, err = f.WriteString(line) // in one piece: the lines of two processes do not mix
	return err
}

// rewrite replaces a key's file. What another process adds meanwhile may be lost.
func (d *Dir) rewrite(key string, oldest []Record) error {
	var text strings.Builder
	for _, r := range oldest {
		text.WriteString(format(r) + "\n")
	}
	return wholefile.In(d.root, key, []byte(text.String()), 0o600)
}

// List gives all records.
func (d *Dir) List(ctx context.Context) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		var failed error
		keys := func(yield func(string) bool) {
			failed = d.names(func(name string) bool { return !ValidKey(name) || yield(name) })
		}
		for r, err := range listed(ctx, d, keys) {
			if !yield(r, err) {
				return
			}
		}
		if failed != nil {
			yield(Record{}, failed)
		}
	}
}

// names calls do with the name of each file until it gives false.
func (d *Dir) names(do func(name string) bool) error {
	dir, err := d.root.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(512)
		for _, name := range names {
			if !do(name) {
				return nil
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Keep removes the records that keep does not want, and whatever else is in the directory. Others may use the
// directory meanwhile; keep is asked about what they put or not.
func (d *Dir) Keep(keep func(Record) bool) error {
	var names []string
	err := d.names(func(name string) bool { names = append(names, name); return true })
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := d.locked(syscall.LOCK_EX, func() error { return d.keepFile(name, keep) }); err != nil {
			return err
		}
	}
	return nil
}

func (d *Dir) keepFile(name string, keep func(Record) bool) error {
	if !ValidKey(name) {
		return d.root.RemoveAll(name)
	}
	data, err := d.read(name)
	if err != nil {
		return d.root.RemoveAll(name) // a directory, say
	}
	var kept []Record
	for _, r := range parseLines(name, data) {
		if keep(r) {
			kept = append(kept, r)
		}
	}
	switch {
	case len(kept) == 0:
		if err := d.root.Remove(name); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	case len(kept) != bytes.Count(data, []byte("\n")):
		return d.rewrite(name, kept)
	}
	return nil
}
