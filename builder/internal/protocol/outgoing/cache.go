package outgoing

import (
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/registry"
	"github.com/oakum-build/oakum/storage/remotecache"
)

// ImportCache reads caches elsewhere, for stages that are opened with what it makes of them.
type ImportCache struct {
	Cache  string // the caller's choice, unique
	From   []remotecache.At
	Access registry.Access
}

// Gives declares the method.
func (ImportCache) Gives(wire.None) string { return "importcache" }

// ExportCache writes what stages have found and made to a cache elsewhere: with All the layers of all stages, else
// those of the images that were committed.
type ExportCache struct {
	Cache   string
	To      remotecache.At
	All     bool
	Options storage.PushOptions
	Access  registry.Access
}

// Gives declares the method.
func (ExportCache) Gives(imgspec.Descriptor) string { return "exportcache" }

// CloseCache forgets what ImportCache made. Stages that have it keep it.
type CloseCache struct{ Cache string }

// Gives declares the method.
func (CloseCache) Gives(wire.None) string { return "closecache" }
