// Package upkeep declares the calls that look after the room that a store takes.
package upkeep

import (
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/usage"
)

// Prune removes what its options say of the layer cache.
type Prune struct{ usage.Options }

// Gives declares the method.
func (Prune) Gives(storage.Pruned) string { return "prune" }

// DiskUsage tells what is on disk.
type DiskUsage struct{ Filter []usage.Filter }

// Gives declares the method.
func (DiskUsage) Gives(usage.Report) string { return "diskusage" }

// RemoveStore removes a store. It is the only call then.
type RemoveStore struct{ Store storage.Options }

// Gives declares the method.
func (RemoveStore) Gives(wire.None) string { return "removestore" }
