//go:build linux

package storage

import (
	"encoding/json"
	"maps"
	"slices"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	cs "go.podman.io/storage"

	"github.com/oakum-build/oakum/storage/registry"
)

// noticeAnnotations tells what an image loses in Docker's format, whose manifests have no
// annotations.
func (s *Store) noticeAnnotations(img *cs.Image, a registry.Access) {
	raw, err := s.cs.ImageBigData(img.ID, cs.ImageDigestBigDataKey)
	var m v1.Manifest
	if err == nil && json.Unmarshal(raw, &m) == nil && len(m.Annotations) > 0 {
		names := slices.Sorted(maps.Keys(m.Annotations))
		a.Noticef("Docker's format has no annotations, so that these are not sent: %q", names)
	}
}
