package remotecache

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	digest "github.com/opencontainers/go-digest"

	"github.com/oakum-build/oakum/storage/records"
)

// Index is what a cache knows.
type Index struct {
	Records []records.Record
	Reads   []Read
	// Layers are the digests of the layers' tars, in the order of the layers of the manifest.
	Layers []digest.Digest
}

// Read is what was read of layers: the digest of it, under a key that covers the layers, whose chain IDs it
// has, and what of them is read.
type Read struct {
	Key     string          `json:"key"`
	Content string          `json:"content"`
	Layers  []digest.Digest `json:"layers"`
}

// UnmarshalJSON reads it, and no more of its layers than show that they are too many.
func (r *Read) UnmarshalJSON(raw []byte) (err error) {
	type plain Read
	f := struct {
		*plain
		Layers json.RawMessage `json:"layers"`
	}{plain: (*plain)(r)}
	if err = json.Unmarshal(raw, &f); err == nil && f.Layers != nil {
		r.Layers, err = firstOf[digest.Digest](f.Layers, mostOfRead+1)
	}
	return err
}

// Check fails with ErrInvalid for a Read that cannot be one.
func (r Read) Check() error {
	if !records.ValidKey(r.Key) || !records.ValidKey(r.Content) || len(r.Layers) == 0 || len(r.Layers) > mostOfRead {
		return fmt.Errorf("%w: something read, %.80q, with the digest %.80q, of %d layers", ErrInvalid, r.Key, r.Content, len(r.Layers))
	}
	for _, l := range r.Layers {
		if !records.Usable(l) {
			return fmt.Errorf("%w: something read of the layers %.80q", ErrInvalid, l)
		}
	}
	return nil
}

// The bounds of an Index. A build of a thousand steps needs a tenth of it. maxIndex is what clients of registries
// read of a configuration.
const (
	maxIndex   = 4 << 20
	maxRecords = 10_000
	maxReads   = 10_000
	maxLayers  = 10_000
	mostOfRead = 8
)

// list is a list as JSON. Of one that has more than any here may have, no more are decoded than show that: as values they
// take a hundred times the room of a text such as {}.
type list[T any] []T

func (l *list[T]) UnmarshalJSON(raw []byte) (err error) {
	*l, err = firstOf[T](raw, max(maxRecords, maxReads, maxLayers)+1)
	return err
}

// firstOf decodes a list, and at most n of it.
func firstOf[T any](raw []byte, n int) (all []T, err error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	begin, err := d.Token()
	if err != nil || begin == nil { // null is none
		return nil, err
	}
	if begin != json.Delim('[') {
		return nil, fmt.Errorf("%w: %.80q is no list", ErrInvalid, raw)
	}
	for all = []T{}; len(all) < n && d.More(); {
		var one T
		if err := d.Decode(&one); err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

// version is that of the format.
const version = 1

// file is an Index as JSON.
type file struct {
	Version int                 `json:"version"`
	Records list[record]        `json:"records"`
	Reads   list[Read]          `json:"reads"`
	Layers  list[digest.Digest] `json:"layers,omitempty"`
}

// record is a records.Record as JSON. Its chain is not there, for it is that of the others.
type record struct {
	Key     string        `json:"key"`
	Content string        `json:"content,omitempty"`
	Below   digest.Digest `json:"below,omitempty"`
	DiffID  digest.Digest `json:"diff,omitempty"`
	Size    int64         `json:"size,omitempty"`
	Created time.Time     `json:"created"`
}

// Encode gives the index as JSON, which depends on what is in it alone, in whatever order. One that is larger than
// Decode takes is an error.
func (x Index) Encode() ([]byte, error) {
	f := file{Version: version, Records: []record{}, Reads: slices.Clone(x.Reads), Layers: x.Layers}
	for _, r := range x.Records {
		f.Records = append(f.Records, record{r.Key, r.Content, r.Below, r.DiffID, r.Size, r.Created.UTC()})
	}
	slices.SortFunc(f.Records, func(a, b record) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), a.Created.Compare(b.Created), cmp.Compare(a.Content, b.Content), cmp.Compare(a.Below, b.Below), cmp.Compare(a.DiffID, b.DiffID))
	})
	f.Records = slices.Compact(f.Records)
	slices.SortFunc(f.Reads, func(a, b Read) int { return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Content, b.Content)) })
	f.Reads = slices.CompactFunc(f.Reads, func(a, b Read) bool { return a.Key == b.Key && a.Content == b.Content })
	raw, err := json.Marshal(f)
	if err == nil && (len(raw) > maxIndex || f.tooMany() != nil) {
		err = fmt.Errorf("the records of %d steps are more than a cache holds: they have %d bytes, and may have %d", len(f.Records), len(raw), maxIndex)
	}
	return raw, err
}

func (f file) tooMany() error {
	if len(f.Records) > maxRecords || len(f.Reads) > maxReads || len(f.Layers) > maxLayers {
		return fmt.Errorf("%w: %d records, %d reads and %d layers are more than %d, %d and %d", ErrInvalid, len(f.Records), len(f.Reads), len(f.Layers), maxRecords, maxReads, maxLayers)
	}
	return nil
}

// Decode reads an index that anybody may have written. Records and reads that cannot be any are left out, and
// counted. One that is too large, or of another version, is an error that matches ErrInvalid.
func Decode(raw []byte) (x Index, dropped int, err error) {
	if len(raw) > maxIndex {
		return x, 0, fmt.Errorf("%w: an index of %d bytes, which may have %d", ErrInvalid, len(raw), maxIndex)
	}
	var f file
	if err := json.Unmarshal(raw, &f); err != nil {
		return x, 0, fmt.Errorf("%w: its index: %w", ErrInvalid, err)
	}
	if f.Version != version {
		return x, 0, fmt.Errorf("%w: its index is of version %d, and this program reads %d", ErrInvalid, f.Version, version)
	}
	if err := f.tooMany(); err != nil {
		return x, 0, err
	}
	for _, is := range f.Records {
		r := records.Record{Key: is.Key, Content: is.Content, Below: is.Below, DiffID: is.DiffID, Size: is.Size, Created: is.Created}
		r.Chain = records.ChainID(r.Below, r.DiffID)
		if r.Check() != nil {
			dropped++
			continue
		}
		x.Records = append(x.Records, r)
	}
	for _, r := range f.Reads {
		if r.Check() != nil {
			dropped++
			continue
		}
		x.Reads = append(x.Reads, r)
	}
	// The oldest first, as they are put into a place of records.
	slices.SortStableFunc(x.Records, func(a, b records.Record) int { return a.Created.Compare(b.Created) })
	x.Layers = f.Layers
	return x, dropped, nil
}

// InlineKey is the name under which the configuration of an image has the index of a cache, whose layers are the
// image's.
const InlineKey = "oakum.cache"

// inline reads the index in an image's configuration; nil is an image that has none.
func inline(config []byte) (*Index, int, error) {
	if !bytes.Contains(config, []byte(`"`+InlineKey+`"`)) {
		return nil, 0, nil
	}
	var image struct {
		RootFS struct {
			DiffIDs list[digest.Digest] `json:"diff_ids"`
		} `json:"rootfs"`
		Cache json.RawMessage `json:"oakum.cache"`
	}
	if err := json.Unmarshal(config, &image); err != nil {
		return nil, 0, fmt.Errorf("%w: the configuration of the image: %w", ErrInvalid, err)
	}
	if len(image.Cache) == 0 {
		return nil, 0, nil
	}
	x, dropped, err := Decode(image.Cache)
	if err == nil && len(image.RootFS.DiffIDs) > maxLayers {
		err = errors.Join(ErrInvalid, fmt.Errorf("an image of %d layers", len(image.RootFS.DiffIDs)))
	}
	x.Layers = image.RootFS.DiffIDs
	return &x, dropped, err
}
