package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/image"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/transports"
)

// index copies all images of an index, then the index.
func (c *copier) index(ctx context.Context, raw []byte, kind string) ([]byte, error) {
	if takes := c.to.SupportedManifestMIMETypes(); len(takes) > 0 && !slices.ContainsFunc(takes, manifest.MIMETypeIsMultiImage) {
		return nil, fmt.Errorf("copying multiple images: destination transport %q does not support copying multiple images as a group", c.to.Reference().Transport().Name())
	}
	if _, err := manifest.ListFromBlob(raw, kind); err != nil { // which refuses what can be read in two ways
		return nil, fmt.Errorf("parsing the index of %s: %w", transports.ImageName(c.from.Reference()), err)
	}
	signatures, err := c.signaturesOf(ctx, c.top)
	if err != nil {
		return nil, err
	}
	var list v1.Index // Docker's manifest list has the same fields
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, err
	}
	changed, err := c.instances(ctx, list.Manifests)
	if err != nil {
		return nil, err
	}
	if as := c.indexType(kind); changed || as != kind {
		if len(signatures) > 0 || c.pinned() != "" {
			return nil, errors.New("the index is signed, or its destination named by a digest, and so it cannot be changed for its images")
		}
		if list.MediaType, list.Versioned = as, (specs.Versioned{SchemaVersion: 2}); as == manifest.DockerV2ListMediaType {
			list.Annotations, list.Subject, list.ArtifactType = nil, nil, ""
		}
		if raw, err = json.Marshal(list); err != nil {
			return nil, err
		}
	}
	if pinned := c.pinned(); pinned != "" && digest.FromBytes(raw) != pinned {
		return nil, errDigest
	}
	if err := c.put(ctx, "writing the index", raw, nil); err != nil {
		return nil, fmt.Errorf("writing the index: %w", err)
	}
	if len(signatures) > 0 {
		if err := c.to.PutSignatures(ctx, signatures, nil); err != nil {
			return nil, fmt.Errorf("writing signatures: %w", err)
		}
	}
	return raw, nil
}

// instances copies an index's images, and makes it one of the manifests as they were written.
func (c *copier) instances(ctx context.Context, manifests []v1.Descriptor) (changed bool, err error) {
	for i := range manifests {
		m := &manifests[i]
		if c.There != nil && c.There(*m) {
			continue
		}
		out, err := c.image(ctx, image.UnparsedInstance(c.from, &m.Digest), true)
		if err != nil {
			return false, fmt.Errorf("copying image %d/%d from manifest list: %w", i+1, len(manifests), err)
		}
		if d := digest.FromBytes(out.raw); d != m.Digest {
			m.Digest, m.Size, m.MediaType, changed = d, int64(len(out.raw)), out.kind, true
		}
	}
	return changed, nil
}

// indexType is the type of the index that the destination gets.
func (c *copier) indexType(kind string) string {
	takes := c.to.SupportedManifestMIMETypes()
	switch {
	case c.Format == FormatOCI, c.Format == "" && len(takes) > 0 && !slices.Contains(takes, kind):
		return v1.MediaTypeImageIndex
	case c.Format == FormatDocker:
		return manifest.DockerV2ListMediaType
	}
	return kind
}
