// Package outgoing declares the calls by which files and images leave the store for files that the
// caller has open, or come from there, as package protocol declares the others.
package outgoing

import (
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/builder/internal/input"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/imageref"
	"github.com/oakum-build/oakum/storage/platform"
	"github.com/oakum-build/oakum/storage/registry"
)

// Export writes files of inputs as one tar to the call's first file.
type Export struct {
	Parts []Part
	// Plain writes what a directory of an ordinary user can hold.
	Plain bool
}

// Part is what an Export takes of one input, and the directory of the tar that it comes into.
type Part struct {
	Under string
	Label string // in errors
	From  input.Source
}

// Gives declares the method.
func (Export) Gives(wire.None) string { return "export" }

// Save writes images as one archive to the call's first file.
type Save struct {
	Images  []imageref.Named
	Options storage.PushOptions
	Access  registry.Access
}

// Gives declares the method.
func (Save) Gives([]imgspec.Descriptor) string { return "save" }

// Load reads the images of the archive, or of the open directory with a layout, that is the call's first file.
type Load struct {
	Platform platform.Platform
	Access   registry.Access
}

// Gives declares the method.
func (Load) Gives([]storage.Image) string { return "load" }
