package fingerprints

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/oakum-build/oakum/storage/records"
	"github.com/oakum-build/oakum/storage/wholefile"
)

// File is one file that a step read.
type File struct {
	Path string // in what was read
	Mode uint32 // with the type, as st_mode
	// Owned says that the owner counts, and UID and GID which it is.
	Owned    bool
	UID, GID uint32
	// Content is that of a regular file, and Attributes stands for all else that counts: where a link
	// leads, a device's number, extended attributes, a time.
	Content, Attributes Sum
}

// Listing collects the files of one input while they are walked, in the order of the walk. The nil
// Listing collects nothing. It belongs to one goroutine until it is complete.
type Listing struct {
	salt    []byte
	met     [][]met // in pieces, which need not be moved when more come
	n       int
	content string
	files   []File // of a complete one, once they were asked for
}

// met is a file that a walk has met.
type met struct {
	File
	sum [32]byte // of what it holds, as long as File does not say it
}

// How many files are in the first piece, and in the largest.
const (
	firstPiece = 8
	piece      = 512
)

// maxFiles bounds a listing. What reads more files can only be told to have changed.
const maxFiles = 1 << 18

// NewListing makes one, or gives nil where none could be kept.
func (d *Dir) NewListing() *Listing {
	salt, err := d.salt()
	if err != nil {
		return nil
	}
	return &Listing{salt: salt}
}

// Begin forgets what was collected, for a walk begins.
func (l *Listing) Begin() {
	if l != nil {
		*l = Listing{salt: l.salt}
	}
}

// Add adds a file. Its Content and Attributes are added by SetContent, and from the text that stands
// for the attributes, "" for none.
func (l *Listing) Add(f File, attributes string) {
	if l == nil {
		return
	}
	if l.n++; l.n > maxFiles {
		l.met = nil
		return
	}
	if k := len(l.met); k == 0 {
		l.met = append(l.met, make([]met, 0, firstPiece))
	} else if last := l.met[k-1]; len(last) == cap(last) {
		l.met = append(l.met, make([]met, 0, min(2*cap(last), piece)))
	}
	if attributes != "" {
		f.Attributes = salted(l.salt, []byte(attributes))
	}
	last := &l.met[len(l.met)-1]
	*last = append(*last, met{File: f})
}

// SetContent gives the file that was added last the digest of its content.
func (l *Listing) SetContent(sum [32]byte) {
	if l != nil && len(l.met) > 0 {
		last := l.met[len(l.met)-1]
		last[len(last)-1].sum = sum
	}
}

// End says that the walk is complete, and to which digest it came.
func (l *Listing) End(content string) {
	if l != nil && l.n <= maxFiles {
		l.content = content
	}
}

// Content is the digest of what was walked, "" for what is not complete.
func (l *Listing) Content() string {
	if l == nil {
		return ""
	}
	return l.content
}

// Files are those of a complete listing.
func (l *Listing) Files() []File {
	for _, m := range slices.Concat(l.met...) {
		if m.sum != ([32]byte{}) { // now, and not while the step waits for the walk
			m.Content = salted(l.salt, m.sum[:])
		}
		l.files = append(l.files, m.File)
	}
	l.met = nil
	return l.files
}

// A listing is a file named by the digest of what was walked. It begins with a line that says what it
// is. That of a list is followed by the beginning of the SHA-256 of the rest: the number of the files,
// and each with its path by how much of it is as of the one before. That of a step with several inputs
// is followed by the digests of these, each in a line.
const (
	filesHead = "oakum files 1"
	partsHead = "oakum parts 1"
	checkLen  = 16
	maxList   = 64 << 20
	maxParts  = 1 << 12
)

// PutListing keeps a listing, unless it is there.
func (d *Dir) PutListing(l *Listing) error {
	if !records.ValidKey(l.Content()) || d.has(l.content) {
		return nil
	}
	body := encodeFiles(l.Files())
	sum := sha256.Sum256(body)
	data := append([]byte(filesHead+"\n"), sum[:checkLen]...)
	if len(body) > maxList {
		return nil
	}
	return d.putList(l.content, append(data, body...))
}

// PutParts says of the content of a step with several inputs which those of the inputs are.
func (d *Dir) PutParts(content string, parts []string) error {
	if !records.ValidKey(content) || len(parts) > maxParts || d.has(content) {
		return nil
	}
	return d.putList(content, []byte(partsHead+"\n"+strings.Join(parts, "\n")))
}

func (d *Dir) has(content string) bool {
	_, err := d.root.Lstat(content + filesEnd)
	return err == nil
}

// putList writes a file in one piece: a listing that was half written would stay so.
func (d *Dir) putList(content string, data []byte) (err error) {
	d.trim.Do(func() { err = d.trimmed(mostBytes, mostFiles) })
	if err != nil {
		return err
	}
	return wholefile.In(d.root, content+filesEnd, data, 0o600)
}

// Files gives the files that a step with a content read, or false where that is not known.
func (d *Dir) Files(content string) ([]File, bool) {
	parts := d.Parts(content)
	if parts == nil {
		return d.files(content)
	}
	var all []File
	for _, part := range parts {
		files, ok := d.files(part)
		if !ok {
			return nil, false
		}
		all = append(all, files...)
	}
	return all, true
}

func (d *Dir) files(content string) ([]File, bool) {
	head, rest := cutLine(d.list(content, maxList+1<<10))
	if string(head) != filesHead || len(rest) < checkLen {
		return nil, false
	}
	sum := sha256.Sum256(rest[checkLen:])
	if !bytes.Equal(sum[:checkLen], rest[:checkLen]) {
		return nil, false
	}
	files, err := decodeFiles(rest[checkLen:])
	return files, err == nil
}

// Parts gives what PutParts was told of a content, nil where there is one input or none.
func (d *Dir) Parts(content string) []string {
	head, rest := cutLine(d.list(content, int64(len(partsHead)+maxParts*(len(content)+1))))
	if string(head) != partsHead {
		return nil
	}
	parts := strings.Split(string(rest), "\n")
	for _, p := range parts {
		if !records.ValidKey(p) || len(parts) > maxParts {
			return nil
		}
	}
	return parts
}

// list reads a file of up to most bytes.
func (d *Dir) list(content string, most int64) []byte {
	if !records.ValidKey(content) {
		return nil
	}
	data, err := d.read(content+filesEnd, most)
	if err != nil {
		return nil
	}
	return data
}

// What a file has beside its path and mode.
const (
	hasOwner = 1 << iota
	hasContent
	hasAttributes
)

func encodeFiles(files []File) []byte {
	data := binary.AppendUvarint(make([]byte, 0, 32*len(files)), uint64(len(files)))
	before := ""
	for _, f := range files {
		shared := 0
		for shared < min(len(before), len(f.Path)) && before[shared] == f.Path[shared] {
			shared++
		}
		before = f.Path
		has := uint64(0)
		if f.Owned {
			has |= hasOwner
		}
		if f.Content != (Sum{}) {
			has |= hasContent
		}
		if f.Attributes != (Sum{}) {
			has |= hasAttributes
		}
		for _, n := range []uint64{uint64(shared), uint64(len(f.Path) - shared)} {
			data = binary.AppendUvarint(data, n)
		}
		data = append(data, f.Path[shared:]...)
		data = binary.AppendUvarint(binary.AppendUvarint(data, uint64(f.Mode)), has)
		if f.Owned {
			data = binary.AppendUvarint(binary.AppendUvarint(data, uint64(f.UID)), uint64(f.GID))
		}
		if has&hasContent != 0 {
			data = append(data, f.Content[:]...)
		}
		if has&hasAttributes != 0 {
			data = append(data, f.Attributes[:]...)
		}
	}
	return data
}

// decodeFiles reads what encodeFiles gave.
func decodeFiles(data []byte) ([]File, error) {
	r := &reader{data: data}
	n := r.number()
	if n > maxFiles || n > uint64(len(data)) {
		return nil, fmt.Errorf("a listing of %d files", n)
	}
	files := make([]File, 0, n)
	before := ""
	for range n {
		shared, rest := r.number(), r.number()
		if shared > uint64(len(before)) {
			return nil, fs.ErrInvalid
		}
		f := File{Path: before[:shared] + string(r.take(rest))}
		before = f.Path
		f.Mode = uint32(r.number())
		has := r.number()
		if f.Owned = has&hasOwner != 0; f.Owned {
			f.UID, f.GID = uint32(r.number()), uint32(r.number())
		}
		if has&hasContent != 0 {
			copy(f.Content[:], r.take(uint64(len(f.Content))))
		}
		if has&hasAttributes != 0 {
			copy(f.Attributes[:], r.take(uint64(len(f.Attributes))))
		}
		if r.failed || len(f.Path) > maxPath {
			return nil, fs.ErrInvalid
		}
		files = append(files, f)
	}
	return files, nil
}

// maxPath bounds a path: those that share their beginnings could be many times longer than the file.
const maxPath = 1 << 13

// reader reads a listing, of which any byte may be wrong.
type reader struct {
	data   []byte
	failed bool
}

func (r *reader) number() uint64 {
	n, size := binary.Uvarint(r.data)
	if size <= 0 {
		r.failed, r.data = true, nil
		return 0
	}
	r.data = r.data[size:]
	return n
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.data)) {
		r.failed, r.data = true, nil
		return nil
	}
	taken := r.data[:n]
	r.data = r.data[n:]
	return taken
}
