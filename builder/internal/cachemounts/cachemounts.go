// Package cachemounts says how caches of commands (RUN --mount=type=cache) are written down that leave a
// store: as an artifact of which each cache is a blob, a tar of its files, and the configuration says what
// names them.
package cachemounts

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/builder/limits"
)

// Type is that of the artifact, and ConfigType of its configuration. Another way to write them down has
// other types.
const (
	Type       = "application/vnd.oakum.cache-mounts.v1"
	ConfigType = "application/vnd.oakum.cache-mounts.config.v1+json"
)

// Tag names the artifact in a layout, unless it is given another.
const Tag = "mounts"

// The bounds of what is read. An id is any text; this is what a path may have at most.
const (
	maxCaches = 4096
	maxID     = 4096
	maxSize   = 1 << 50
)

// Cache is one cache.
type Cache struct {
	// ID and First are what names it: the id of its mount, and the digest of its first content, "" when that
	// was empty.
	ID    string `json:"id"`
	First string `json:"first,omitempty"`
	// Mode, UID and GID are those of its directory, which is not in its tar.
	Mode uint32 `json:"mode"`
	UID  int    `json:"uid,omitempty"`
	GID  int    `json:"gid,omitempty"`
	// Size is the length of its tar before it is compressed.
	Size int64 `json:"size"`
	// Blob is the tar.
	Blob imgspec.Descriptor `json:"-"`
}

type config struct {
	Caches []Cache `json:"caches"`
}

// MediaType is that of a tar that is compressed by an algorithm of package push.
func MediaType(algorithm string) string {
	switch {
	case strings.HasPrefix(algorithm, "zstd"):
		return imgspec.MediaTypeImageLayerZstd
	case algorithm == "uncompressed":
		return imgspec.MediaTypeImageLayer
	}
	return imgspec.MediaTypeImageLayerGzip
}

// Write gives the manifest and the configuration for caches whose blobs are written.
func Write(caches []Cache) (imgspec.Manifest, []byte, error) {
	text, err := json.Marshal(config{caches})
	if err == nil && len(text) > limits.MaxJSON {
		err = &limits.LimitError{What: "the list of the caches", Limit: limits.MaxJSON, Unit: "bytes"}
	}
	m := imgspec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspec.MediaTypeImageManifest, ArtifactType: Type,
		Config: imgspec.Descriptor{MediaType: ConfigType, Digest: digest.FromBytes(text), Size: int64(len(text))},
	}
	for _, c := range caches {
		m.Layers = append(m.Layers, c.Blob)
	}
	return m, text, err
}

// Read reads what Write has given, or somebody who wants us to take it for that. blob reads one of its blobs. An
// error of what is read matches limits.ErrInvalid.
func Read(m imgspec.Manifest, blob func(imgspec.Descriptor, func(io.Reader) error) error) ([]Cache, error) {
	switch {
	case m.Config.MediaType != ConfigType:
		return nil, fmt.Errorf("%w: its configuration is of the type %.200q", limits.ErrInvalid, m.Config.MediaType)
	case m.Config.Size < 0 || m.Config.Size > limits.MaxJSON:
		return nil, &limits.LimitError{What: "the list of the caches", Limit: limits.MaxJSON, Unit: "bytes"}
	}
	var text []byte
	err := blob(m.Config, func(r io.Reader) (err error) {
		text, err = io.ReadAll(io.LimitReader(r, limits.MaxJSON))
		return err
	})
	if err != nil {
		return nil, err
	}
	caches, err := parse(text, m.Layers)
	if err != nil && !limits.IsLimit(err) {
		err = fmt.Errorf("%w: the list of the caches: %w", limits.ErrInvalid, err)
	}
	return caches, err
}

func parse(text []byte, blobs []imgspec.Descriptor) ([]Cache, error) {
	var c config
	in := json.NewDecoder(bytes.NewReader(text))
	if err := in.Decode(&c); err != nil {
		return nil, err
	}
	if len(c.Caches) > maxCaches {
		return nil, &limits.LimitError{What: "the number of caches", Limit: maxCaches, Unit: "caches"}
	}
	if len(c.Caches) != len(blobs) {
		return nil, fmt.Errorf("it has %d caches, and the manifest %d blobs", len(c.Caches), len(blobs))
	}
	for i := range c.Caches {
		one := &c.Caches[i]
		one.Blob = blobs[i]
		if err := one.check(); err != nil {
			return nil, fmt.Errorf("the cache %.100q: %w", one.ID, err)
		}
		same := func(other Cache) bool { return other.ID == one.ID && other.First == one.First }
		if slices.ContainsFunc(c.Caches[:i], same) {
			return nil, fmt.Errorf("the cache %.100q is there twice", one.ID)
		}
	}
	return c.Caches, nil
}

func (c Cache) check() error {
	switch {
	case len(c.ID) > maxID || len(c.First) > maxID:
		return fmt.Errorf("its name has more than %d bytes", maxID)
	case c.Mode&^0o7777 != 0:
		return fmt.Errorf("its mode is %o", c.Mode)
	case c.UID < 0 || c.GID < 0 || int64(c.UID) >= 1<<32-1 || int64(c.GID) >= 1<<32-1:
		return fmt.Errorf("its owner is %d:%d", c.UID, c.GID)
	case c.Size < 0 || c.Size > maxSize:
		return fmt.Errorf("its tar has %d bytes", c.Size)
	case c.Blob.Size < 0:
		return errors.New("the size of its blob is negative")
	case c.Blob.Digest.Validate() != nil || c.Blob.Digest.Algorithm() != digest.SHA256:
		return fmt.Errorf("its blob has the digest %.200q", c.Blob.Digest)
	}
	return nil
}
