package storage

import (
	"errors"
	"fmt"

	"github.com/oakum-build/oakum/storage/registry"
)

// Errors to branch on.
var (
	ErrNotFound = registry.ErrNotFound
	ErrInUse    = errors.New("image is in use")
)

// ErrRemoved says that a layer was removed from the store while it was in use.
var ErrRemoved = errors.New("was removed from the store by another program while it was in use; build again")

// ErrDriver says that another driver was asked for than overlay, which builds need, or
// one of its options that they cannot have.
var ErrDriver = errors.New("invalid storage driver or option")

// ErrNoStore says that a directory that was to be removed as a store is none.
var ErrNoStore = errors.New("not an image store")

// LayerError is a layer that was filled and could not be written for good.
type LayerError struct {
	Layer string // the id of the layer
	Err   error
}

func (e *LayerError) Error() string { return e.Err.Error() }
func (e *LayerError) Unwrap() error { return e.Err }

// PlaceError is a place at which no store can be.
type PlaceError struct {
	Root string
	Err  error
	// Unusable says that this user cannot make or write directories there; otherwise its
	// file system is of the wrong kind.
	Unusable bool
}

func (e *PlaceError) Error() string {
	if e.Unusable {
		return fmt.Sprintf("the store %s cannot be made or opened: %v", e.Root, e.Err)
	}
	return fmt.Sprintf("the store %s is where overlay cannot be mounted: %v", e.Root, e.Err)
}

func (e *PlaceError) Unwrap() error { return e.Err }

// Fix says what to do about it.
func (e *PlaceError) Fix() string {
	if e.Unusable {
		return "name a directory for the store that this user can write to, such as one on a volume, with --root DIR, or in storage.conf; or set HOME to one, and XDG_RUNTIME_DIR to one or to nothing"
	}
	return "put the store on a file system such as ext4, xfs or btrfs with --root DIR, or graphroot in storage.conf; in a container, on a volume"
}

// FormatError is a layer that is unpacked for a mount program.
type FormatError struct {
	Layer, File string
	why         string
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("layer %.12s was unpacked for a mount program (fuse-overlayfs): %s %s", e.Layer, e.File, e.why)
}

// Fix says what to do about it.
func (e *FormatError) Fix() string {
	return "remove the images of that layer (podman rmi) and pull them with oakum, or use another store with --root DIR"
}
