// Package records keeps what build steps have given: the layer cache without the layers.
//
// A record says that a step with some key, which read some content, has given a layer. All
// names in it are digests of what layers hold, so a record means the same in every store and
// on every machine, and who has one knows enough to go on without the layer's files. Whether a
// store has a layer of that chain is the store's to say.
//
// Nothing but a step of this program writes records; never an image, whose history and labels
// anybody can write (CVE-2024-24557).
package records

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
)

// Record is one result of a step.
type Record struct {
	// Key is the step's key: 64 hexadecimal digits that stand for the operation and the
	// layers below it.
	Key string
	// Content is the digest of the files that the step read, as 64 hexadecimal digits. It
	// is "" for a step that reads none.
	Content string
	// Below is the chain ID of the layers that the step was done on, and Chain that of the
	// result. "" is the empty root. (OCI image configuration, "Layer ChainID".)
	Below, Chain digest.Digest
	// DiffID is the digest of the layer that the step added, as an uncompressed tar, and
	// Size the length of that. A step that found nothing to do has added none: DiffID is ""
	// then, and Chain is Below.
	DiffID digest.Digest
	Size   int64
	// Created is when the layer was made.
	Created time.Time
}

// Records is a place where records are kept. All methods may be called from many
// goroutines, and other processes may use the same place at the same time.
//
// It is a cache: a record that was put may be gone later, because a newer one took its place,
// because the place is full, or because it was damaged. What is damaged is never given: Get and
// List only give records that have passed Check.
type Records interface {
	// Get gives the records of a key, the newest first and at most MaxResults of them. A key
	// of which nothing is known has none; that is no error. Of records with the same content
	// and chain, only the newest is given. The caller may change what it gets.
	Get(ctx context.Context, key string) ([]Record, error)
	// Put adds a record as the newest of its key. It fails with ErrInvalid for one that does
	// not pass Check. Who gets from the same place after Put has returned, in any process,
	// finds it.
	Put(ctx context.Context, r Record) error
	// List gives all records in no particular order, but those of a key one after the
	// other as Get does. It goes on after what it cannot read, and gives the error with a
	// zero Record; when the context ends, it ends with that error. What is put or removed meanwhile may be listed or not.
	List(ctx context.Context) iter.Seq2[Record, error]
}

// MaxResults is how many records are given of a key, and at least half as many are kept.
const MaxResults = 64

// maxSize bounds the size of a layer that is believed.
const maxSize = 1 << 56

// ErrInvalid says that a record is none.
var ErrInvalid = errors.New("not a record of a step")

// ValidKey says whether a string can be the key of a record.
func ValidKey(key string) bool {
	if len(key) != 64 {
		return false
	}
	for _, c := range []byte(key) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Check fails with ErrInvalid for a record that cannot be one: with malformed digests, or with
// a chain that does not come of the one below and the layer.
func (r Record) Check() error {
	switch {
	case !ValidKey(r.Key):
		return fmt.Errorf("%w: the key %.80q is no digest", ErrInvalid, r.Key)
	case r.Content != "" && !ValidKey(r.Content):
		return fmt.Errorf("%w: the content %.80q is no digest", ErrInvalid, r.Content)
	case r.Size < 0 || r.Size > maxSize:
		return fmt.Errorf("%w: a layer of %d bytes", ErrInvalid, r.Size)
	case r.Created.Year() < 1 || r.Created.Year() > 9999:
		return fmt.Errorf("%w: made in the year %d", ErrInvalid, r.Created.Year())
	}
	for _, d := range []digest.Digest{r.Below, r.Chain, r.DiffID} {
		if d != "" && !Usable(d) {
			return fmt.Errorf("%w: %.80q is no SHA-256 digest", ErrInvalid, d)
		}
	}
	if r.Chain != ChainID(r.Below, r.DiffID) {
		return fmt.Errorf("%w: the layer %.80q on the chain %.80q does not give the chain %.80q", ErrInvalid, r.DiffID, r.Below, r.Chain)
	}
	return nil
}

// Usable says whether a digest can be that of a layer or chain in a record: SHA-256, which
// is what containers/storage names layers by.
func Usable(d digest.Digest) bool {
	hex, ok := strings.CutPrefix(string(d), algorithm)
	return ok && ValidKey(hex)
}

const algorithm = "sha256:"

// ChainID is the chain ID of a layer on layers of the chain ID below, each "" for none (OCI
// image configuration, "Layer ChainID").
func ChainID(below, diffID digest.Digest) digest.Digest {
	switch {
	case diffID == "":
		return below
	case below == "":
		return diffID
	}
	return identity.ChainID([]digest.Digest{below, diffID})
}

// same says whether two records of a key tell of the same result.
func (r Record) same(other Record) bool {
	return r.Content == other.Content && r.Chain == other.Chain && r.Below == other.Below
}

// newestFirst turns records, the oldest first, into what Get gives.
func newestFirst(oldest []Record) []Record {
	var out []Record
	for i := len(oldest) - 1; i >= 0 && len(out) < MaxResults; i-- {
		known := false
		for _, r := range out {
			known = known || r.same(oldest[i])
		}
		if !known {
			out = append(out, oldest[i])
		}
	}
	return out
}
