package protocol

import (
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/builder/isolation"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/platform"
	"github.com/oakum-build/oakum/storage/registry"
)

// Images lists the images of the store.
type Images struct{}

// Gives declares the method.
func (Images) Gives([]storage.Image) string { return "images" }

// Inspect finds an image. Of an index it gives with Choose the image for a platform.
type Inspect struct {
	Ref      string
	Choose   bool
	Platform platform.Platform
}

// Gives declares the method.
func (Inspect) Gives(storage.Detail) string { return "inspect" }

// Tag adds names to an image.
type Tag struct {
	Ref   string
	Names []string
}

// Gives declares the method.
func (Tag) Gives(wire.None) string { return "tag" }

// Remove removes an image or a name.
type Remove struct {
	Ref            string
	Force, Unnamed bool // as in builder.RemoveOptions
}

// Gives declares the method.
func (Remove) Gives(storage.Removed) string { return "remove" }

// Pull fetches an image.
type Pull struct {
	Ref      string
	Platform platform.Platform
	Access   registry.Access
}

// Gives declares the method.
func (Pull) Gives(storage.Image) string { return "pull" }

// Push sends an image.
type Push struct {
	Ref, Dest string
	Options   storage.PushOptions
	Access    registry.Access
}

// Gives declares the method.
func (Push) Gives(imgspec.Descriptor) string { return "push" }

// Remembers says whether the cache knows of layers that were pruned.
type Remembers struct{}

// Gives declares the method.
func (Remembers) Gives(bool) string { return "remembers" }

// Info describes the store and the namespaces.
type Info struct{}

// Gives declares the method.
func (Info) Gives(Machine) string { return "info" }

// Machine is what Info gives.
type Machine struct {
	storage.Status
	Rootless       bool
	UIDMap, GIDMap string
	Kernel         string
	Commands       isolation.Means
}
