// Package usage has what a store tells about the room that it takes, and how a prune is told what to
// remove of it. It needs no store.
package usage

import (
	"fmt"
	"time"
)

// Kind is what an Item is.
type Kind string

// The kinds of items.
const (
	Layer      Kind = "layer"      // the files of a layer, and the records of its tar
	CacheMount Kind = "cachemount" // what RUN --mount=type=cache keeps
	Records    Kind = "records"    // what is known of steps, of what they read and of blobs
	Image      Kind = "image"      // the manifest and the configuration of an image; its layers are items of their own
	Staging    Kind = "staging"    // what running builds have made so far, and what killed ones have left
	Other      Kind = "other"      // lists and locks of the store, and what other programs keep in it
)

// Item is a part of a store. Each file of the store belongs to exactly one.
type Item struct {
	Kind Kind
	// ID is that of a layer or image; of a cache mount the hash that is its name, and else what it is
	// called in the store.
	ID string
	// Parent is the layer below, and of an image its uppermost layer.
	Parent string `json:",omitempty"`
	// Description says what it is: of a cache mount its id, of an image its names.
	Description string `json:",omitempty"`
	// Size is what it takes on disk, in bytes: the blocks of its files and directories, those of a file
	// with several names once, as by du. Apparent is how long its files and links are.
	Size, Apparent int64
	// Shared says of a layer that an image or a container has it too.
	Shared bool `json:",omitempty"`
	// Base says of a layer that no step made it. It stays as long as an image or a layer of a
	// step is on it.
	Base bool `json:",omitempty"`
	// InUse says that a running build uses it.
	InUse bool `json:",omitempty"`
	// Reclaimable says that a prune may remove it.
	Reclaimable bool `json:",omitempty"`
	Created     time.Time
	// LastUsed is when a build last came upon it, give or take Grain.
	LastUsed time.Time
	// OfLayers and OfLayersAlone are, of an image, what its layers take on disk, and those of them that
	// no other image has.
	OfLayers, OfLayersAlone int64 `json:",omitempty"`
}

// Grain is how exactly a store knows when something was last used: what was used less than that ago is
// not marked again.
const Grain = time.Minute

// Report is what a store has on disk.
type Report struct {
	// Root is the directory of the store.
	Root string
	// Items are what was asked for, what was used last first.
	Items []Item
	// Size is all that is in Root, whatever was asked for: the sum of all items. It is what du -sx counts.
	Size, Apparent int64
	// Free is how much its file system has left for this user.
	Free int64
}

// Options say what a prune removes. The zero value is all layers of steps that no image and no container
// has, all cache mounts, and what is remembered of local files and URLs; whatever it says, what a running build
// uses stays.
type Options struct {
	// Filter chooses items; all must take one. Layers go only after those that are on them.
	Filter []Filter `json:",omitempty"`
	// All forgets what is known of layers that stay, too, so that no step is found any more.
	All bool `json:",omitempty"`
	// KeepDuration keeps what was used less than that ago.
	KeepDuration time.Duration `json:",omitempty"`
	// With MaxUsedSpace the prune ends as soon as what it might remove takes no more than that; with MinFreeSpace as
	// soon as the file system has that much left; it goes on until both are so. It never goes below
	// ReservedSpace, and down to that where it is given alone. What was used last longest ago goes first. All are in bytes, 0 is none.
	MaxUsedSpace, MinFreeSpace, ReservedSpace int64 `json:",omitempty"`
	// DryRun removes nothing, and tells what would be.
	DryRun bool `json:",omitempty"`
	// Every, when not 0, does nothing if a prune has ended less than that ago, or while another one goes on. Others
	// wait for that.
	Every time.Duration `json:",omitempty"`
}

// Check fails with ErrFilter for options that cannot be meant.
func (o Options) Check() error {
	if o.KeepDuration < 0 || o.MaxUsedSpace < 0 || o.MinFreeSpace < 0 || o.ReservedSpace < 0 || o.Every < 0 {
		return fmt.Errorf("%w: a limit of a prune is negative", ErrFilter)
	}
	_, err := Chosen(o.Filter)
	return err
}

// Limited says whether the size of things matters.
func (o Options) Limited() bool {
	return o.MaxUsedSpace > 0 || o.MinFreeSpace > 0 || o.ReservedSpace > 0
}

// keeps is how much of total may stay, when the file system has free bytes left.
func (o Options) keeps(total, free int64) int64 {
	if o.MaxUsedSpace <= 0 && o.MinFreeSpace <= 0 {
		return o.ReservedSpace
	}
	keeps := total
	if o.MaxUsedSpace > 0 {
		keeps = min(keeps, o.MaxUsedSpace)
	}
	if lacking := o.MinFreeSpace - free; lacking > 0 {
		keeps = min(keeps, total-lacking)
	}
	return max(keeps, o.ReservedSpace)
}
