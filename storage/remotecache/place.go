// Package remotecache is the layer cache as it travels: an OCI artifact whose configuration is the records of
// steps and what they have read (Index), and whose layers are the layers' own blobs. It lies in a repository of a
// registry, in a Place, or without blobs in the configuration of an image, whose layers are the blobs.
//
// Anybody may have written what is read here, so that all of it is bounded and checked. What a blob holds is not
// looked at: who takes one compares it with the digest that the layer's record gives.
package remotecache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	digest "github.com/opencontainers/go-digest"

	"github.com/oakum-build/oakum/storage/records"
	"github.com/oakum-build/oakum/storage/registry"
)

// Place is somewhere that a cache can be kept, a bucket or a service, say. All methods may be called by several
// goroutines at once, and by several programs. A name is the digest of what it names, sha256: and 64 hexadecimal
// digits, or ManifestName.
type Place interface {
	// Get opens what has a name. What is not there is an error that matches fs.ErrNotExist.
	Get(ctx context.Context, name string) (io.ReadCloser, error)
	// Has says whether there is something of a name.
	Has(ctx context.Context, name string) (bool, error)
	// Put keeps content of a size under a name. When content ends with an error, Put fails and keeps nothing. The
	// manifest is put last, and takes the place of the one before as a whole.
	Put(ctx context.Context, name string, size int64, content io.Reader) error
}

// ManifestName is the name of the manifest in a Place.
const ManifestName = "manifest.json"

// CheckName fails with ErrInvalid for what cannot be a name in a Place.
func CheckName(name string) error {
	if name == ManifestName {
		return nil
	}
	return checkDigest(digest.Digest(name))
}

// checkDigest fails with ErrInvalid for what names no blob.
func checkDigest(d digest.Digest) error {
	if !records.Usable(d) {
		return fmt.Errorf("%w: %.80q is no digest", ErrInvalid, d)
	}
	return nil
}

// At is where a cache is. Exactly one of its first three fields is given.
type At struct {
	// Ref names it in a registry: a cache, or an image with one in its configuration.
	Ref string `json:",omitempty"`
	// Layout is the directory of an OCI image layout, in which Tag names the cache; "" is "latest".
	Layout string `json:",omitempty"`
	Tag    string `json:",omitempty"`
	// Place is any other place; Asked is what it is called between the processes of a Builder, and Called in messages.
	Place  Place  `json:"-"`
	Asked  string `json:",omitempty"`
	Called string `json:",omitempty"`
}

// ErrInvalid is a place that is none, or a cache that is not what it should be.
var ErrInvalid = errors.New("not a cache")

// Check fails with ErrInvalid unless one place is named.
func (a At) Check() error {
	named := 0
	for _, is := range []bool{a.Ref != "", a.Layout != "", a.Place != nil || a.Asked != ""} {
		if is {
			named++
		}
	}
	switch {
	case named != 1:
		return fmt.Errorf("%w: a cache is at a reference, in a layout or in a place of the caller's, and one of them is to be named", ErrInvalid)
	case a.Tag != "" && a.Layout == "":
		return fmt.Errorf("%w: the tag %q is of no layout", ErrInvalid, a.Tag)
	}
	return nil
}

// Same says whether two are the same place.
func (a At) Same(other At) bool {
	return a.Ref == other.Ref && a.Layout == other.Layout && a.tag() == other.tag() && a.Asked == other.Asked
}

// String is how messages call it.
func (a At) String() string {
	switch {
	case a.Ref != "":
		return a.Ref
	case a.Layout != "":
		return a.Layout + ":" + a.tag()
	}
	return cmp.Or(a.Called, "a place of the program's")
}

func (a At) tag() string {
	if a.Tag == "" {
		return "latest"
	}
	return a.Tag
}

// Supply is a cache that was read, and how its blobs are reached.
type Supply struct {
	Content
	At     At
	Access registry.Access
}

// FetchError is a Supply that a layer could not be had from.
type FetchError struct {
	Supply *Supply
	Err    error
}

func (e *FetchError) Error() string { return fmt.Sprintf("the cache %s: %v", e.Supply.At, e.Err) }
func (e *FetchError) Unwrap() error { return e.Err }
