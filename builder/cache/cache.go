// Package cache is the layer cache as it travels from machine to machine: where it is read from and written to.
//
// What travels is an OCI artifact: the records of steps, which are small, and the blobs of layers. A record is enough
// to go on: a step that is found needs no files, and so the blobs of its layer are fetched when a step that is not found
// has to see them, or an image is written, and not before. Each is compared with its digest then.
//
// A cache is believed in what its records say: that a step gives a layer. So who can write it can have a build give
// what he likes, as who can write a base image can. It is to be written by builds that are trusted alone.
package cache

import (
	"context"
	"fmt"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/storage/compression"
	"github.com/oakum-build/oakum/storage/remotecache"
)

// Place is a place of the program's own for caches, such as a bucket. Get opens what has a name, or fails with
// fs.ErrNotExist; Has says whether it is there; Put keeps it, and keeps nothing when the content ends with an error. A name
// is a digest (sha256: and 64 hexadecimal digits), whose content never changes, or ManifestName, which is put last and
// takes the place of the one before as a whole. All three may be called by several goroutines at once, and must return when
// ctx ends.
type Place = remotecache.Place

// ManifestName is the one name in a Place that is no digest.
const ManifestName = remotecache.ManifestName

// At is where a cache is. Exactly one of Ref, Layout and Place is given.
type At struct {
	// Ref is a name in a registry: of a cache, or to read from, of an image that has one in its configuration
	// (builder.CommitOptions.InlineCache).
	Ref string
	// Layout is a directory with an OCI image layout, in which Tag names the cache; "" is "latest". Writing makes the
	// directory, and leaves alone what has other tags.
	Layout, Tag string
	// Place is a place of the program's own. If it has a method String, that is how messages call it.
	Place Place
}

// String is how messages call it.
func (a At) String() string { return a.at().String() }

func (a At) at() remotecache.At {
	at := remotecache.At{Ref: a.Ref, Layout: a.Layout, Tag: a.Tag, Place: a.Place}
	if named, is := a.Place.(fmt.Stringer); is {
		at.Called = named.String()
	}
	return at
}

// Check gives the error of a place that cannot be any.
func (a At) Check() error { return a.at().Check() }

// The modes of a Target.
const (
	// Min is the records of all stages and the layers of the images that were committed, or of all stages where none
	// was. A build that finds all of it needs no others: a stage that is only copied from is found by its records.
	Min = "min"
	// Max is the layers of all stages, so that a build can go on within any of them.
	Max = "max"
)

// Target is what is written, and where to.
type Target struct {
	At
	// Mode is Min or Max; "" is Min.
	Mode string
	// Compression is that of layers that are not compressed yet.
	Compression compression.Choice
	// IgnoreErrors makes a warning of what fails.
	IgnoreErrors bool
}

// Check gives the error of a Target that nothing can be written to.
func (t Target) Check() error {
	if t.Mode != "" && t.Mode != Min && t.Mode != Max {
		return fmt.Errorf("mode %q: it is %s or %s", t.Mode, Min, Max)
	}
	if err := t.Compression.Check(); err != nil {
		return err
	}
	return t.At.Check()
}

// Cache is what stages that are opened with it (builder.StageOptions.Cache) have from elsewhere, and what they find and
// make, to be written elsewhere. Builder.ImportCache makes it. It is for one build, or several that have the same caches,
// and safe for many goroutines. It must be closed.
type Cache struct {
	id     string
	export func(ctx context.Context, to Target) (imgspec.Descriptor, error)
	end    func() error
}

// New is for package builder: a Cache with an id, and what Export and Close do.
func New(id string, export func(ctx context.Context, to Target) (imgspec.Descriptor, error), end func() error) *Cache {
	return &Cache{id, export, end}
}

// ID is what the Cache is called in the Builder; "" of nil.
func (c *Cache) ID() string {
	if c == nil {
		return ""
	}
	return c.id
}

// Export writes what the stages have found and made so far, as Builder.ExportCache.
func (c *Cache) Export(ctx context.Context, to Target) (imgspec.Descriptor, error) {
	return c.export(ctx, to)
}

// Close forgets it. Stages that are open keep what they have of it. It is idempotent, and does nothing to nil.
func (c *Cache) Close() error {
	if c == nil {
		return nil
	}
	return c.end()
}
