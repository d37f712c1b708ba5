package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	digest "github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/pkg/blobinfocache/memory"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/errgroup"
)

// single is the copy of one image.
type single struct {
	*copier
	img        types.Image
	source     written
	signatures [][]byte
	instance   bool   // of an index that is copied
	fixed      string // why the manifest must stay as it is, or ""
}

// copy copies the image's layers, then its configuration, then its manifest.
func (s *single) copy(ctx context.Context) (written, error) {
	if err := s.check(ctx); err != nil {
		return written{}, err
	}
	var err error
	if s.signatures, err = s.signaturesOf(ctx, s.img); err != nil {
		return written{}, err
	}
	if err := s.fix(); err != nil {
		return written{}, err
	}
	layers, err := s.layers(ctx)
	if err != nil {
		return written{}, err
	}
	out, err := s.finish(ctx, layers)
	if err != nil {
		return written{}, err
	}
	if len(s.signatures) > 0 {
		if err := s.to.PutSignatures(ctx, s.signatures, s.as(out)); err != nil {
			return written{}, fmt.Errorf("writing signatures: %w", err)
		}
	}
	return out, nil
}

// check finds what is wrong before anything is copied: in the manifest, and for a store, which needs a
// configuration, between the two (OCI image specification, config.md: a diff ID for each layer).
func (s *single) check(ctx context.Context) error {
	var config *v1.Image
	if s.to.MustMatchRuntimeOS() {
		var err error
		if config, err = s.img.OCIConfig(ctx); err != nil {
			return fmt.Errorf("parsing image configuration: %w", err)
		}
	}
	if own := manifest.NormalizedMIMEType(s.source.kind); own != v1.MediaTypeImageManifest && own != manifest.DockerV2Schema2MediaType {
		return nil // Docker's first schema says neither sizes nor diff IDs
	}
	layers := s.img.LayerInfos()
	for _, l := range layers {
		if l.Size < 0 {
			return fmt.Errorf("the manifest says that the layer %s has %d bytes", l.Digest, l.Size)
		}
	}
	if config != nil && len(layers) != len(config.RootFS.DiffIDs) {
		return fmt.Errorf("the manifest has %d layers, and the configuration %d", len(layers), len(config.RootFS.DiffIDs))
	}
	return nil
}

// fix finds out whether the manifest may be changed: not when the digest of it is what signatures are
// of, or the destination's name.
func (s *single) fix() error {
	if len(s.signatures) > 0 {
		s.fixed = "the image is signed, and its signatures would not hold in another format"
	}
	pinned := s.pinned()
	if pinned == "" || s.instance {
		return nil
	}
	s.fixed = "the destination is named by a digest"
	top, _, err := s.top.Manifest(context.Background()) // it has been read
	if err != nil {
		return err
	}
	for _, raw := range [][]byte{s.source.raw, top} {
		if is, err := manifest.MatchesDigest(raw, pinned); is || err != nil {
			return err
		}
	}
	return errDigest
}

// as is how the destination is told which manifest of an index one is.
func (s *single) as(w written) *digest.Digest {
	if !s.instance {
		return nil
	}
	d := digest.FromBytes(w.raw)
	return &d
}

// layers copies the layers, and gives them as the destination has them.
func (s *single) layers(ctx context.Context) ([]types.BlobInfo, error) {
	named := s.img.LayerInfos()
	has, err := s.img.LayerInfosForCopy(ctx)
	if err != nil {
		return nil, err
	}
	if has == nil {
		has = named
	}
	if len(has) != len(named) {
		return nil, fmt.Errorf("the manifest has %d layers, and the image %d", len(named), len(has))
	}
	sent := make([]types.BlobInfo, len(named))
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(s.jobs())
	for i := range named {
		group.Go(func() (err error) {
			if err := inner.Err(); err != nil {
				return err
			}
			sent[i], err = s.layer(inner, named[i], has[i])
			return err
		})
	}
	return sent, group.Wait()
}

func (s *single) jobs() int {
	switch {
	case !s.from.HasThreadSafeGetBlob() || !s.to.HasThreadSafePutBlob():
		return 1
	case s.Jobs > 0:
		return s.Jobs
	}
	return defaultJobs
}

// finish writes the configuration and the manifest: in the first format of those that are possible
// which the destination takes.
func (s *single) finish(ctx context.Context, layers []types.BlobInfo) (written, error) {
	if err := s.config(ctx); err != nil {
		return written{}, err
	}
	kinds, err := s.kinds()
	if err != nil {
		return written{}, err
	}
	var refused error
	for _, kind := range kinds {
		out, impossible := s.manifest(kind, layers)
		err := impossible
		if err == nil {
			err = s.put(ctx, "writing the manifest", out.raw, s.as(out))
		}
		if err == nil {
			return out, nil
		}
		if refused == nil {
			refused = fmt.Errorf("writing manifest: %w", err)
		}
		if impossible == nil && !errors.As(err, new(types.ManifestTypeRejectedError)) {
			break
		}
	}
	return written{}, refused
}

func (s *single) config(ctx context.Context) error {
	info := s.img.ConfigInfo()
	if info.Digest == "" {
		return nil // as in Docker's first schema
	}
	return s.Again(ctx, "copying the configuration "+info.Digest.String(), func() error {
		data, err := s.img.ConfigBlob(ctx)
		if err != nil {
			return fmt.Errorf("reading config blob %s: %w", info.Digest, err)
		}
		if info.Size >= 0 && int64(len(data)) != info.Size {
			return fmt.Errorf("reading config blob %s: it has %d bytes, and its manifest says %d", info.Digest, len(data), info.Size)
		}
		if _, err := s.to.PutBlob(ctx, bytes.NewReader(data), info, memory.New(), true); err != nil {
			return fmt.Errorf("writing config blob %s: %w", info.Digest, err)
		}
		return nil
	})
}

// kinds are the manifest's possible types, the best one first: what it is, if that can be.
func (s *single) kinds() ([]string, error) {
	own := manifest.NormalizedMIMEType(s.source.kind)
	takes := s.to.SupportedManifestMIMETypes()
	can := func(kind string) bool { return len(takes) == 0 || slices.Contains(takes, kind) }
	switch s.Format {
	case FormatOCI:
		can = func(kind string) bool { return kind == v1.MediaTypeImageManifest }
	case FormatDocker:
		can = func(kind string) bool { return kind == manifest.DockerV2Schema2MediaType }
	}
	var kinds []string
	for _, kind := range []string{own, v1.MediaTypeImageManifest, manifest.DockerV2Schema2MediaType} {
		if can(kind) && !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	switch {
	case len(kinds) == 0:
		return nil, fmt.Errorf("%s takes no manifest that can be made of one of the type %s", transports.ImageName(s.to.Reference()), own)
	case s.fixed == "":
		return kinds, nil
	case kinds[0] != own:
		return nil, errors.New(s.fixed)
	}
	return kinds[:1], nil
}
