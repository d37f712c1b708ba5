package outgoing

import (
	"github.com/oakum-build/oakum/builder/mount"
	"github.com/oakum-build/oakum/storage/compression"
	"github.com/oakum-build/oakum/storage/registry"
	"github.com/oakum-build/oakum/storage/remotecache"
)

// ExportMounts writes the caches of commands with some ids, or all, to a place or, where To is the zero value, as an
// archive to the call's first file.
type ExportMounts struct {
	IDs         []string `json:",omitempty"`
	To          remotecache.At
	Compression compression.Choice
	Access      registry.Access
}

// Gives declares the method.
func (ExportMounts) Gives([]mount.Moved) string { return "exportmounts" }

// ImportMounts reads what ExportMounts has written, from a place or the call's first file, which is an archive or
// the open directory of a layout.
type ImportMounts struct {
	IDs     []string `json:",omitempty"`
	From    remotecache.At
	Replace bool
	Access  registry.Access
}

// Gives declares the method.
func (ImportMounts) Gives([]mount.Moved) string { return "importmounts" }
