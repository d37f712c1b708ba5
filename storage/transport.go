//go:build linux

package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/docker"
	dockerarchive "go.podman.io/image/v5/docker/archive"
	ociarchive "go.podman.io/image/v5/oci/archive"
	ocilayout "go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/types"

	"github.com/oakum-build/oakum/storage/imageref"
)

// transportOf gives the transport of a reference for which imageref.HasTransport is true. The list of
// containers/image has daemons, clusters and file systems besides, and links clients for them.
func transportOf(name string) types.ImageTransport {
	for _, t := range []types.ImageTransport{docker.Transport, ocilayout.Transport, ociarchive.Transport, dockerarchive.Transport, directory.Transport} {
		if t.Name() == name {
			return t
		}
	}
	return nil
}

// otherTransports are those of containers-transports(5) that are no way in or out here. Their names are
// known, so that nothing is looked for in a registry by one of them.
var otherTransports = []string{"atomic", "containers-storage", "docker-daemon", "ostree", "sif", "tarball"}

// parseTransport reads a reference that begins with the name of a transport; found is false for any other.
func parseTransport(ref string) (to types.ImageReference, found bool, err error) {
	name, rest, _ := strings.Cut(ref, ":")
	if !imageref.HasTransport(ref) {
		if name != ref && slices.Contains(otherTransports, name) {
			return nil, true, fmt.Errorf("%w %q: %s: is nothing that images come from or go to here; they do by a name in a registry, and by %s", imageref.ErrInvalid, ref, name, imageref.TransportList)
		}
		return nil, false, nil
	}
	r, err := transportOf(name).ParseReference(rest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, true, fmt.Errorf("%s: %w", ref, err)
	}
	if err != nil {
		return nil, true, fmt.Errorf("%w %q: %w", imageref.ErrInvalid, ref, err)
	}
	return r, true, nil
}
