// Package fingerprints keeps what the steps of builds were made of, so that it can be told what has
// changed when one is not found again.
//
// A record of package records says that a step with some key gave a layer, and a key cannot be taken
// apart. A fingerprint is the key in parts: names, and for each value a short digest. The files that
// a step read are a list beside it (see Listing). Nothing of a build depends on them, they are of this
// store alone, and they never leave it.
//
// Values are not kept, for they may be what a build argument says. Their digests are made with a
// secret of the store, so that they tell equal from unequal, and nobody finds a value by trying out
// what it could be, unless they can read the secret as well.
package fingerprints

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/records"
	"github.com/oakum-build/oakum/storage/wholefile"
)

// Sum is a digest that only this store gives. The zero value is that of nothing.
type Sum [8]byte

// String is the sum in as many digits as a reader needs to tell it from another.
func (s Sum) String() string {
	if s == (Sum{}) {
		return ""
	}
	return hex.EncodeToString(s[:4])
}

// MarshalText gives all of its digits.
func (s Sum) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(s[:])), nil }

// UnmarshalText reads what MarshalText gave.
func (s *Sum) UnmarshalText(text []byte) error {
	if hex.DecodedLen(len(text)) != len(s) {
		return errors.New("not a sum")
	}
	_, err := hex.Decode(s[:], text)
	return err
}

// Step is what a step was made of.
type Step struct {
	Version int
	Key     string // that of its record
	Content string `json:",omitempty"` // that of its record

	Operation string
	Stage     string // the stage's name
	Number    int    // of the step in its stage, from 0
	// Below is the chain ID of the layers that it was done on, and Base the image that these began
	// with: its name and its digest.
	Below      string
	Base       string
	BaseDigest string
	Parts      map[string]Sum
	Done       time.Time
}

const version = 1

const (
	saltFile = "salt"
	saltLen  = 32
	// stepsFile has the fingerprints, each a line of JSON, the oldest first. Of several of a key the
	// last counts. One that is larger than mostSteps is written anew with its later half.
	stepsFile = "steps"
	mostSteps = 16 << 20
	maxStep   = 1 << 18
	// filesEnd ends the names of listings.
	filesEnd = ".files"
)

// Dir keeps fingerprints in the files of a directory, which several processes may use: the fingerprints
// of steps, the listings, and the secret. What is damaged counts as nothing, and what another process adds just when
// one writes a file anew may be lost. It is safe for many goroutines.
type Dir struct {
	root *os.Root
	salt func() ([]byte, error)
	trim sync.Once

	mu    sync.Mutex
	steps *os.File // stepsFile, to be added to; nil before it was needed
}

// OpenDir opens a directory, which must be there. It is closed with Close.
func OpenDir(path string) (*Dir, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	d := &Dir{root: root}
	d.salt = sync.OnceValues(d.readSalt)
	return d, nil
}

// Close closes the directory.
func (d *Dir) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return errors.Join(d.closeSteps(), d.root.Close())
}

// closeSteps has the next Put open the file. The caller holds d.mu.
func (d *Dir) closeSteps() (err error) {
	if d.steps != nil {
		err = d.steps.Close()
	}
	d.steps = nil
	return err
}

// readSalt reads the secret, and makes it where there is none.
func (d *Dir) readSalt() ([]byte, error) {
	for range 2 {
		salt, err := d.root.ReadFile(saltFile)
		if err == nil && len(salt) == saltLen {
			return salt, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err == nil { // damaged
			if err := d.root.Remove(saltFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
		fresh := make([]byte, saltLen)
		_, _ = rand.Read(fresh) // never fails
		tmp := saltFile + "." + rand.Text()
		if err := d.root.WriteFile(tmp, fresh, 0o600); err != nil {
			_ = d.root.Remove(tmp)
			return nil, err
		}
		// In one piece, and the first of several processes wins.
		err = d.root.Link(tmp, saltFile)
		if err := errors.Join(ignore(err, fs.ErrExist), d.root.Remove(tmp)); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("the secret of the fingerprints changes while it is read")
}

func ignore(err, of error) error {
	if errors.Is(err, of) {
		return nil
	}
	return err
}

// Sum gives the sum of a text.
func (d *Dir) Sum(text []byte) (Sum, error) {
	salt, err := d.salt()
	if err != nil {
		return Sum{}, err
	}
	return salted(salt, text), nil
}

func salted(salt, text []byte) Sum {
	var buf [saltLen + 64]byte
	salted := append(append(buf[:0], salt...), text...)
	sum := sha256.Sum256(salted)
	return Sum(sum[:len(Sum{})])
}

// Put keeps the fingerprint of a step that was done, in the place of an earlier one of its key.
func (d *Dir) Put(s Step) error {
	if !records.ValidKey(s.Key) {
		return fmt.Errorf("fingerprint of %.80q: not a key", s.Key)
	}
	s.Version = version
	line, err := json.Marshal(s)
	if err != nil || len(line) > maxStep {
		return err // of one that is too large nothing can be told later
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	size, err := d.openSteps()
	if err != nil {
		return err
	}
	if size > mostSteps {
		all, err := d.all()
		if err == nil {
			err = d.rewrite(all[len(all)/2:])
		}
		if _, openErr := d.openSteps(); err != nil || openErr != nil {
			return errors.Join(err, openErr)
		}
	}
	_, err = d.steps.Write(append(line, '\n')) // in one piece: the lines of two processes do not mix
	return err
}

// openSteps has d.steps be the file that is there now, and gives its size. The caller holds d.mu.
func (d *Dir) openSteps() (size int64, err error) {
	for range 2 {
		if d.steps == nil {
			if d.steps, err = d.root.OpenFile(stepsFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
				d.steps = nil
				return 0, err
			}
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(d.steps.Fd()), &st); err != nil {
			return 0, os.NewSyscallError("fstat", err)
		}
		if st.Nlink > 0 {
			return st.Size, nil
		}
		if err := d.closeSteps(); err != nil { // another process has written it anew
			return 0, err
		}
	}
	return 0, errors.New("the fingerprints are written anew all the time")
}

// rewrite writes the fingerprints anew.
func (d *Dir) rewrite(all []Step) error {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	for _, s := range all {
		if err := e.Encode(s); err != nil {
			return err
		}
	}
	return wholefile.In(d.root, stepsFile, text.Bytes(), 0o600)
}

// All gives the fingerprints that there are, of each key the last, the oldest first.
func (d *Dir) All() ([]Step, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.all()
}

func (d *Dir) all() ([]Step, error) {
	data, err := d.read(stepsFile, 2*mostSteps)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Step
	last := map[string]int{}
	for line := range bytes.Lines(data) {
		var s Step
		if json.Unmarshal(line, &s) != nil || s.Version != version || !records.ValidKey(s.Key) || s.Content != "" && !records.ValidKey(s.Content) {
			continue
		}
		last[s.Key] = len(all)
		all = append(all, s)
	}
	kept := all[:0]
	for i, s := range all {
		if last[s.Key] == i {
			kept = append(kept, s)
		}
	}
	return kept, nil
}

// read reads a file that is not larger than it can be.
func (d *Dir) read(name string, most int64) ([]byte, error) {
	f, err := d.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("%s is larger than %d bytes", name, most)
	}
	return data, err
}

func (d *Dir) names() ([]string, error) {
	dir, err := d.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return dir.Readdirnames(-1)
}

// Keep removes the fingerprints whose key is not wanted, the listings that none is left of, and
// whatever else is in the directory but the secret. What others have written since a time stays, but for what they write
// at this very moment.
func (d *Dir) Keep(since time.Time, wanted func(key string) bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	all, err := d.all()
	if err != nil {
		return err
	}
	kept := slices.DeleteFunc(slices.Clone(all), func(s Step) bool { return !wanted(s.Key) && !s.Done.After(since) })
	if err := d.rewrite(kept); err != nil {
		return err
	}
	lists := map[string]bool{}
	for _, s := range kept {
		lists[s.Content] = true
		for _, part := range d.Parts(s.Content) {
			lists[part] = true
		}
	}
	names, err := d.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		content, is := strings.CutSuffix(name, filesEnd)
		if name == saltFile || name == stepsFile || is && lists[content] {
			continue
		}
		if st, err := d.root.Lstat(name); err == nil && st.ModTime().After(since) {
			continue
		}
		if err := d.root.RemoveAll(name); err != nil {
			return err
		}
	}
	return nil
}

// The listings are trimmed by the first of a process that writes one: of those that are more or larger than
// this, the oldest go until half is left.
const (
	mostBytes = 64 << 20
	mostFiles = 1 << 14
)

// trimmed bounds the listings.
func (d *Dir) trimmed(mostBytes int64, mostFiles int) error {
	names, err := d.names()
	if err != nil {
		return err
	}
	var files []fs.FileInfo
	bytes := int64(0)
	for _, name := range names {
		if info, err := d.root.Lstat(name); err == nil && strings.HasSuffix(name, filesEnd) {
			files = append(files, info)
			bytes += info.Size()
		}
	}
	if bytes <= mostBytes && len(files) <= mostFiles {
		return nil
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for left := len(files); len(files) > 0 && (bytes > mostBytes/2 || left > mostFiles/2); files = files[1:] {
		if err := d.root.RemoveAll(files[0].Name()); err != nil {
			return err
		}
		bytes, left = bytes-files[0].Size(), left-1
	}
	return nil
}

// cutLine cuts a text at its first line.
func cutLine(data []byte) (line, rest []byte) {
	line, rest, _ = bytes.Cut(data, []byte("\n"))
	return line, rest
}
