// Package archive is what builder.Builder.Save writes.
package archive

import (
	"os"

	"github.com/oakum-build/oakum/storage/wholefile"
)

// Image is an image of an archive.
type Image struct {
	// Ref is the image of the store, as Builder.Inspect takes it.
	Ref string
	// Names are those that it has in the archive; one without a tag has the tag latest. None are
	// needed, nor need it have them in the store.
	Names []string
}

// WriteFile has write write an archive, or another output, to a file that appears whole or not at all: what was
// there before stays until all is written. Where there is something that is no file, as a pipe, it is written to.
func WriteFile(path string, write func(*os.File) error) error { return wholefile.Write(path, write) }
