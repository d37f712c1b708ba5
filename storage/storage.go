// Package storage keeps layers and images in a containers/storage store, and moves
// images in and out of it through containers/image.
//
// Default places, lock files, storage.conf, registries.conf, policy.json and auth
// files are those of the two libraries, so Podman, Buildah and Skopeo of the same
// user share the store. Signatures that policy.json demands are checked in programs that import package
// signatures; in others such an image is refused.
//
// A build step's layer is made where it will stay: MakeLayer gives the step a
// directory of the store to write into, reads the result once to digest it,
// and renames it into place.
//
// With the driver overlay the package must run as root of its user namespace (the worker's), for
// layers hold files of many owners. With the driver tree, where a layer is its tar, any user may, with one
// id, no capability and no mount: MakeTar makes a layer there, and OpenTar reads one with either driver.
//
// A Store is safe for many goroutines. It is there on Linux alone; what
// is told of images, and the errors, are there on every system.
package storage

import (
	"encoding/json"
	"fmt"
	"time"

	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/storage/compression"
	"github.com/oakum-build/oakum/storage/imageindex"
	"github.com/oakum-build/oakum/storage/platform"
	"github.com/oakum-build/oakum/storage/usage"
)

// Options says which store to open. The zero value is storage.conf's.
type Options struct {
	Root          string
	RunRoot       string
	Driver        string
	DriverOptions []string
	// Rootless says that the process is root of a user namespace of an ordinary user.
	Rootless bool
	// PID and Program tell other processes who uses the store. A worker gives those of the
	// program that started it.
	PID     int
	Program string
	// Look opens a store of which nothing is to be made, changed or mounted, only looked up. The user may do so to whom its
	// indexes belong, without being root of the namespace in which its layers have their owners: containers/storage is
	// not opened, its files are read. Layers that are in use are noted as in any Store, so that nobody removes them,
	// but there are no holds against other programs.
	//
	// What can be called is Inspect, Choose, Find, Layer, LayerOf, Use, Remembers, Content, Records, Committed, Opened and
	// what says where things are. What they cannot tell by looking is an error: the caller opens the store in full
	// then, and asks once more. That goes for whatever is not as usual in the store, and also for what somebody else
	// is just changing.
	//
	// A store is opened that has been opened in full before, and RememberOpened called. Else that fails.
	Look bool
}

// Status describes the store for Builder.Info.
type Status struct {
	Root, RunRoot, Driver string
	DriverStatus          [][2]string
	Images, Layers        int
}

// Image is an image of the store.
type Image struct {
	ID       string
	Digest   digest.Digest
	Names    []string
	Created  time.Time
	TopLayer string
	Size     int64 // bytes of all layers as uncompressed tars; of an index those of its images
	// Index are the images of an index, which has no layers and no configuration; nil of any other.
	Index []imageindex.Entry `json:",omitzero"`
	// Within are the ids of the indexes that have the image. Images alone tells it.
	Within []string `json:",omitempty"`
}

// Detail is an image with its manifest and configuration.
type Detail struct {
	Image
	Manifest   imgspec.Descriptor // its media type, digest and size
	Config     json.RawMessage    // the configuration blob as stored
	Layers     []digest.Digest    // diff IDs, base first
	LayerSizes []int64
	// Annotations are those of the manifest, which OCI's alone has, also that of an index.
	Annotations map[string]string
}

// Platform is what the image's configuration says.
func (d Detail) Platform() (platform.Platform, error) {
	var config struct{ OS, Architecture, Variant string }
	if err := json.Unmarshal(d.Config, &config); err != nil {
		return platform.Platform{}, fmt.Errorf("configuration of image %s: %w", d.ID, err)
	}
	return platform.Platform(config), nil
}

// Pruned is what Prune removed.
type Pruned struct {
	Layers int   // of steps
	Caches int   // of commands
	Size   int64 // bytes on disk
	// Skipped says that nothing was looked at, for usage.Options.Every.
	Skipped bool
	// Items are what was removed, or would have been, in the order in which they went.
	Items []usage.Item
}

// Removed is what Remove did.
type Removed struct {
	Untagged []string // names
	Deleted  []string // ids of images
}

// PushOptions are how an image is sent.
type PushOptions struct {
	// Format is that of the manifests: "oci", "docker", or "", which keeps what there is where the
	// destination takes it. With layers that are compressed by zstd "" is "oci".
	Format string
	// Compression is how layers are compressed for registries and OCI layouts.
	Compression compression.Choice
	// IndexOnly sends an index without its images, which must be where it goes.
	IndexOnly bool
	// ByDigest gives the image no tag in a registry: there it is known by its digest alone.
	ByDigest bool
}
