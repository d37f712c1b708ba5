package mount

import (
	"io"

	digest "github.com/opencontainers/go-digest"

	"github.com/oakum-build/oakum/builder/cache"
)

// Export says which caches builder.ExportMounts writes, and where.
type Export struct {
	// To is a registry, a layout, in which the tag "" is "mounts", or a place of the program's own.
	To cache.At
	// Archive, when not nil, gets an OCI image layout as a tar instead.
	Archive io.Writer
	// IDs are those of the caches, each of which must be there; none means all.
	IDs []string
}

// Import says which caches builder.ImportMounts reads, and from where.
type Import struct {
	// From is as Export.To.
	From cache.At
	// Archive, when not nil, is what Export.Archive got, compressed or not, or an open *os.File of a
	// directory with an OCI image layout.
	Archive io.Reader
	// IDs are those of the caches, each of which must be there; none means all.
	IDs []string
	// Replace puts a cache in the place of one that the store has. Without it that one stays.
	Replace bool
}

// Moved is a cache that was written or read.
type Moved struct {
	ID string
	// First is the digest of its first content, "" when that was empty: see Cache.ID.
	First string
	// Blob is its files as a tar, compressed, of Size bytes.
	Blob digest.Digest
	Size int64
	// Kept says of a cache to be read that the store has one, which stays as it is.
	Kept bool
}
