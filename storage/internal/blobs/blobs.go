// Package blobs remembers which compressed blobs a layer was pulled or sent as, and which repositories
// have them, so that a layer that the other side has is not sent again: by the digest of its tar a layer
// leads to blobs, and these are asked for.
package blobs

import (
	"bytes"
	"cmp"
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

	digest "github.com/opencontainers/go-digest"

	"github.com/oakum-build/oakum/storage/wholefile"
)

// Blob is a layer as it was sent or received.
type Blob struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
	// Algorithm is one of package compression, Level the one that was asked for.
	Algorithm string `json:"algorithm"`
	Level     *int   `json:"level,omitempty"`
	// Own says that it was compressed here. Others are as their image has them.
	Own bool `json:"own,omitempty"`
	// Annotations are what the descriptor needs to have.
	Annotations map[string]string `json:"annotations,omitempty"`
	// Repository is where it is, as HOST/PATH; "" is nowhere that is known.
	Repository string `json:"repository,omitempty"`
}

// Dir keeps blobs in the files of a directory, which several processes may use. What it does not know,
// or cannot write, costs a transfer and nothing else.
//
// The file of a layer has the digest of its tar as its name, in hexadecimal, and a line for each blob
// and repository, the oldest first: a Blob as JSON, a space, and the beginning of the SHA-256 of the
// layer's digest, a space and the JSON. A line that was cut short, or does not fit, is passed over.
type Dir struct {
	root *os.Root
	most int        // files
	mu   sync.Mutex // held while a file is changed: by this process; what another spoils meanwhile is sent again
}

// The bounds of a Dir. A file is shortened when it has twice as many lines as it keeps; of too many files
// the half goes that was written first.
const (
	keptLines = 32
	mostFiles = 4096
	maxFile   = 1 << 18
	checkLen  = 16
)

// OpenDir opens a directory, which must be there. It is closed with Close.
func OpenDir(path string) (*Dir, error) {
	root, err := os.OpenRoot(path)
	return &Dir{root: root, most: mostFiles}, err
}

// Close closes the directory.
func (d *Dir) Close() error { return d.root.Close() }

// Of gives the blobs of a layer, the last first.
func (d *Dir) Of(diffID digest.Digest) []Blob {
	if d == nil || !usable(diffID) {
		return nil
	}
	all := d.read(diffID)
	slices.Reverse(all)
	return all
}

// usable says whether a digest can be a file's name.
func usable(d digest.Digest) bool { return d.Validate() == nil && d.Algorithm() == digest.SHA256 }

func (d *Dir) read(diffID digest.Digest) []Blob {
	f, err := d.root.Open(diffID.Encoded())
	if err != nil {
		return nil
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil || len(data) > maxFile {
		return nil
	}
	var all []Blob
	for line := range bytes.Lines(data) {
		if b, ok := parse(diffID, strings.TrimSuffix(string(line), "\n")); ok {
			all = append(all, b)
		}
	}
	return all
}

func check(diffID digest.Digest, text string) string {
	sum := sha256.Sum256([]byte(diffID.Encoded() + " " + text))
	return hex.EncodeToString(sum[:])[:checkLen]
}

func parse(diffID digest.Digest, line string) (b Blob, ok bool) {
	at := strings.LastIndexByte(line, ' ')
	if at < 0 || check(diffID, line[:at]) != line[at+1:] {
		return b, false
	}
	err := json.Unmarshal([]byte(line[:at]), &b)
	return b, err == nil && b.valid() == nil
}

func (b Blob) valid() error {
	if b.Size < 0 || !usable(b.Digest) {
		return fmt.Errorf("a blob of the digest %q and the size %d", b.Digest, b.Size)
	}
	return nil
}

// Put adds a blob of a layer. The caller has made the one of the other, or has verified both: whoever
// may say that a foreign blob is a layer can put it in that layer's place.
func (d *Dir) Put(diffID digest.Digest, b Blob) error {
	if !usable(diffID) || b.valid() != nil {
		return fmt.Errorf("remembering a blob of the layer %q: %w", diffID, errors.Join(diffID.Validate(), b.valid()))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	all := d.read(diffID)
	text, err := json.Marshal(b)
	if err != nil {
		return err
	}
	if len(all) > 0 && equal(all[len(all)-1], b) {
		return nil
	}
	same := slices.IndexFunc(all, func(other Blob) bool { return equal(other, b) })
	if same >= 0 && len(all)-same <= keptLines/2 {
		return nil // it is among those that are looked at
	}
	if len(all) >= 2*keptLines {
		return d.rewrite(diffID, append(all[len(all)-keptLines+1:], b))
	}
	if len(all) == 0 {
		_ = d.root.Remove(diffID.Encoded()) // of what may be there nothing can be read
		d.makeRoom()
	}
	f, err := d.root.OpenFile(diffID.Encoded(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	// In one piece, so that those of other processes stay whole, and on a line of its own though the last
	// one was cut short.
	_, err = fmt.Fprintf(f, "\n%s %s\n", text, check(diffID, string(text)))
	return errors.Join(err, f.Close())
}

func equal(a, b Blob) bool {
	x, err := json.Marshal(a)
	y, other := json.Marshal(b)
	return err == nil && other == nil && bytes.Equal(x, y)
}

// rewrite puts a file of fewer blobs in the place of a layer's.
func (d *Dir) rewrite(diffID digest.Digest, all []Blob) error {
	var text bytes.Buffer
	for _, b := range all {
		line, err := json.Marshal(b)
		if err != nil {
			return err
		}
		fmt.Fprintf(&text, "%s %s\n", line, check(diffID, string(line)))
	}
	return wholefile.In(d.root, diffID.Encoded(), text.Bytes(), 0o600)
}

// makeRoom removes old files when there are too many.
func (d *Dir) makeRoom() {
	dir, err := d.root.Open(".")
	if err != nil {
		return
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil || len(names) < d.most {
		return
	}
	written := map[string]time.Time{}
	for _, name := range names {
		if st, err := d.root.Lstat(name); err == nil {
			written[name] = st.ModTime()
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(written[a].Compare(written[b]), strings.Compare(a, b))
	})
	for _, name := range names[:len(names)/2] {
		_ = d.root.Remove(name)
	}
}

// Keep forgets the blobs of all layers but those that wanted says.
func (d *Dir) Keep(wanted func(diffID digest.Digest) bool) error {
	dir, err := d.root.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		diffID := digest.NewDigestFromEncoded(digest.SHA256, name)
		if usable(diffID) && wanted(diffID) {
			continue
		}
		if err := d.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
