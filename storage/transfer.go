//go:build linux

package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker"
	dockerarchive "go.podman.io/image/v5/docker/archive"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/manifest"
	ociarchive "go.podman.io/image/v5/oci/archive"
	istorage "go.podman.io/image/v5/storage"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"
	cs "go.podman.io/storage"

	"github.com/oakum-build/oakum/storage/compression"
	"github.com/oakum-build/oakum/storage/imageref"
	"github.com/oakum-build/oakum/storage/internal/blobs"
	"github.com/oakum-build/oakum/storage/internal/policy"
	"github.com/oakum-build/oakum/storage/internal/transfer"
	"github.com/oakum-build/oakum/storage/platform"
	"github.com/oakum-build/oakum/storage/registry"
)

// Pull copies an image into the store and gives it. ref is a name, or has one of the
// transports docker, oci, oci-archive, docker-archive or dir. An image that an archive or
// layout gives a name gets that name, as by podman pull. Of NAME:TAG@DIGEST the digest
// counts, and the image gets the name NAME:TAG as well. Where ref has several platforms it
// is the image for p, and for this machine with the zero value.
func (s *Store) Pull(ctx context.Context, ref string, p platform.Platform, a registry.Access) (Image, error) {
	return s.pull(ctx, ref, p, a, true)
}

// PullBase is Pull of an image to build from, for a platform where ref has several. It gets
// the name that it was asked by and no other: what a file calls itself is its maker's choice,
// and the next build that asks for that name must not get it. For the same reason a tag
// beside a digest names nothing: it need not be what the registry has by that tag. With any but the zero
// platform it gets no name at all: the name stays with the image for this machine.
func (s *Store) PullBase(ctx context.Context, ref string, p platform.Platform, a registry.Access) (Image, error) {
	return s.pull(ctx, ref, p, a, false)
}

// pull is Pull, and with inner false PullBase.
func (s *Store) pull(ctx context.Context, ref string, p platform.Platform, a registry.Access, inner bool) (Image, error) {
	if strings.HasPrefix(ref, imageref.OwnStore) { // there is nothing to fetch
		img, err := s.find(ref)
		if err != nil {
			return Image{}, err
		}
		return s.image(img)
	}
	a = a.Moving(ref, false)
	ref, tag := imageref.Unpin(ref)
	if !inner {
		tag = ""
	}
	sys, err := s.systemContext(a)
	if err != nil {
		return Image{}, err
	}
	sys.OSChoice, sys.ArchitectureChoice, sys.VariantChoice = p.OS, p.Architecture, p.Variant
	src, found, err := parseTransport(ref)
	if errors.Is(err, fs.ErrNotExist) {
		return Image{}, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	if err != nil {
		return Image{}, err
	}
	if found {
		img, err := s.pullFrom(ctx, sys, src, a, inner)
		switch {
		case err == nil:
			return s.nameTag(img, src.DockerReference(), tag)
		case src.Transport().Name() == docker.Transport.Name(): // the error says all
		case registry.Explain("pulling "+ref, err) != nil:
			err = registry.Explain("pulling "+ref, err)
		case errors.Is(err, fs.ErrNotExist), errors.As(err, &ociarchive.ArchiveFileNotFoundError{}):
			err = fmt.Errorf("pulling %s: %w: %w", ref, ErrNotFound, err)
		}
		return img, err
	}
	return s.pullNamed(ctx, sys, ref, tag, a, inner)
}

// errCreds says that it is not clear which registry credentials are for.
var errCreds = errors.New("the credentials are for one registry, and a short name may lead to several: write the image's name with its registry")

// pullNamed pulls from the registries that a name may be in. The image also gets the name
// with tag, unless that is "".
func (s *Store) pullNamed(ctx context.Context, sys *types.SystemContext, ref, tag string, a registry.Access, inner bool) (Image, error) {
	names, err := s.remoteNames(sys, ref)
	if err != nil {
		return Image{}, err
	}
	if a.Username != "" && a.Host == "" && len(names) > 1 {
		return Image{}, fmt.Errorf("%w %q: %w", imageref.ErrInvalid, ref, errCreds)
	}
	var errs []error
	for _, named := range names {
		src, err := docker.NewReference(named)
		if err != nil {
			return Image{}, fmt.Errorf("%w %q: %w", imageref.ErrInvalid, ref, err)
		}
		img, err := s.pullFrom(ctx, sys, src, a, inner)
		if err == nil {
			return s.nameTag(img, named, tag)
		}
		if ctx.Err() != nil {
			return Image{}, err
		}
		errs = append(errs, err)
	}
	if len(errs) == 1 {
		return Image{}, errs[0]
	}
	return Image{}, fmt.Errorf("%s may be one of several images, and none could be had:\n%w", ref, errors.Join(errs...))
}

// pullFrom pulls from where src is. inner lets an archive or layout name its image.
func (s *Store) pullFrom(ctx context.Context, sys *types.SystemContext, src types.ImageReference, a registry.Access, inner bool) (img Image, err error) {
	if src.Transport().Name() != docker.Transport.Name() {
		return s.copyFrom(ctx, sys, src, a, inner)
	}
	err = registry.Transfer(ctx, sys, a, registry.Pulling, src.DockerReference(), func(ctx context.Context, sys *types.SystemContext) error {
		img, err = s.copyFrom(ctx, sys, src, a, inner)
		return err
	})
	return img, err
}

// copyFrom does one pull.
func (s *Store) copyFrom(ctx context.Context, sys *types.SystemContext, src types.ImageReference, a registry.Access, inner bool) (Image, error) {
	into := &adding{Store: s.cs, of: s}
	defer into.end()
	dest, err := s.pulledReference(ctx, sys, into, src, inner)
	if err != nil {
		return Image{}, err
	}
	return s.copyTo(ctx, sys, into, dest, src, a)
}

// copyTo does one pull to a place in the store, which is reached through into.
func (s *Store) copyTo(ctx context.Context, sys *types.SystemContext, into *adding, dest, src types.ImageReference, a registry.Access) (Image, error) {
	trust, err := policy.Read(sys)
	if err != nil {
		return Image{}, registry.Local(err)
	}
	var again func(context.Context, string, func() error) error
	if src.Transport().Name() == docker.Transport.Name() {
		again = a.Again(registry.Pulling, src.DockerReference())
	}
	var allowed []byte // the manifest that the policy allows
	allow := func(ctx context.Context, img types.UnparsedImage) (err error) {
		if err = trust.Allow(ctx, img); err == nil {
			allowed, _, err = img.Manifest(ctx)
		}
		if err == nil && s.madeHere(allowed) {
			err = errMadeHere
		}
		return err
	}
	var raw []byte
	err = s.add(into, func() (err error) {
		raw, err = transfer.Between(ctx, dest, src, transfer.Options{
			Source: sys, Dest: sys, Allow: allow, Blobs: s.blobs, Again: again, Progress: moved(a),
		})
		return err
	})
	if errors.Is(err, errMadeHere) || errors.Is(err, cs.ErrDuplicateID) {
		return s.builtHere(allowed, dest.DockerReference())
	}
	if err != nil {
		return Image{}, err
	}
	return s.pulled(dest, raw)
}

// pulled finds the image that was pulled to dest with a manifest. Its id is the digest of its
// configuration, unless the manifest, of Docker's first schema, has none.
func (s *Store) pulled(dest types.ImageReference, raw []byte) (Image, error) {
	m, err := manifest.FromBlob(raw, manifest.GuessMIMEType(raw))
	if err != nil {
		return Image{}, err
	}
	if config := m.ConfigInfo().Digest; config != "" {
		if dest, err = istorage.Transport.NewStoreReference(s.cs, nil, config.Encoded()); err != nil {
			return Image{}, err
		}
	}
	_, img, err := istorage.ResolveReference(dest)
	if err != nil {
		return Image{}, err
	}
	return s.image(img)
}

// errMadeHere ends the pull of an image whose layers would only come a second time.
var errMadeHere = errors.New("the store has the image, and its layers")

// madeHere says whether a manifest is of an image that the store has with layers that were made in it, and
// whose blobs are those that it was pushed or pulled as before. Of another manifest with its configuration all
// is fetched and compared.
func (s *Store) madeHere(raw []byte) bool {
	m, err := manifest.FromBlob(raw, manifest.GuessMIMEType(raw))
	if err != nil || m.ConfigInfo().Digest.Validate() != nil {
		return false
	}
	img, err := s.cs.Image(m.ConfigInfo().Digest.Encoded())
	if err != nil || img.TopLayer == "" {
		return false
	}
	if record, err := s.cs.Layer(img.TopLayer); err != nil || record.CompressedDigest != "" {
		return false // it was pulled: its layers are found by their digests
	}
	l, err := s.Layer(img.TopLayer)
	layers := m.LayerInfos()
	for err == nil && l != nil && len(layers) > 0 && s.isBlobOf(layers[len(layers)-1], l) {
		l, layers = l.Parent(), layers[:len(layers)-1]
	}
	return err == nil && l == nil && len(layers) == 0
}

func (s *Store) isBlobOf(blob manifest.LayerInfo, l *Layer) bool {
	return slices.ContainsFunc(s.blobs.Of(l.DiffID()), func(b blobs.Blob) bool { return b.Digest == blob.Digest && b.Size == blob.Size })
}

// builtHere finds the image of a manifest that was pulled, when the store has it with layers of other
// ids: a build's layers have ids of their own. It gets the name and the manifest. That is not asked for again:
// the policy has allowed this one, and the next answer may be another.
func (s *Store) builtHere(raw []byte, name reference.Named) (Image, error) {
	m, err := manifest.FromBlob(raw, manifest.GuessMIMEType(raw))
	if err != nil {
		return Image{}, err
	}
	config := m.ConfigInfo().Digest
	if err := config.Validate(); err != nil { // Docker's first schema has none
		return Image{}, fmt.Errorf("the configuration of the manifest: %w", err)
	}
	id := config.Encoded()
	d, err := manifest.Digest(raw)
	if err != nil {
		return Image{}, err
	}
	if err := s.cs.SetImageBigData(id, cs.ImageDigestManifestBigDataNamePrefix+"-"+d.String(), raw, manifest.Digest); err != nil {
		return Image{}, fmt.Errorf("image %s: %w", id, err)
	}
	if name != nil {
		if err := s.addNames(id, reference.TagNameOnly(name).String()); err != nil {
			return Image{}, fmt.Errorf("naming image %s: %w", id, err)
		}
	}
	img, err := s.cs.Image(id)
	if err != nil {
		return Image{}, fmt.Errorf("image %s: %w", id, err)
	}
	return s.image(img)
}

func (s *Store) reference(into cs.Store, name string) (types.ImageReference, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return nil, fmt.Errorf("%w %q: %w", imageref.ErrInvalid, name, err)
	}
	return istorage.Transport.NewStoreReference(&naming{Store: into, of: s, names: []string{reference.TagNameOnly(named).String()}}, named, "")
}

// RemoteDigest asks a registry for the digest of ref's manifest there.
func (s *Store) RemoteDigest(ctx context.Context, ref string, a registry.Access) (digest.Digest, error) {
	sys, err := s.systemContext(a)
	if err != nil {
		return "", err
	}
	ref, _ = imageref.Unpin(ref)
	names, err := s.remoteNames(sys, ref)
	if err != nil {
		return "", err
	}
	var errs []error
	for _, named := range names {
		r, err := docker.NewReference(named)
		if err != nil {
			return "", fmt.Errorf("%w %q: %w", imageref.ErrInvalid, ref, err)
		}
		d, err := remoteDigest(ctx, sys, r, a)
		if err == nil {
			return d, nil
		}
		errs = append(errs, err)
	}
	return "", errors.Join(errs...)
}

func remoteDigest(ctx context.Context, sys *types.SystemContext, ref types.ImageReference, a registry.Access) (d digest.Digest, err error) {
	err = registry.Transfer(ctx, sys, a, registry.Asking, ref.DockerReference(), func(ctx context.Context, sys *types.SystemContext) error {
		d, err = docker.GetDigest(ctx, sys, ref)
		return err
	})
	return d, err
}

// HasDigest says whether d is a digest of img's manifests.
func (s *Store) HasDigest(img Image, d digest.Digest) bool {
	images, err := s.cs.ImagesByDigest(d)
	if err != nil {
		return false
	}
	for _, i := range images {
		if i.ID == img.ID {
			return true
		}
	}
	return false
}

// check gives the error of options that nothing can be sent by, and completes them.
func (o *PushOptions) check() error {
	switch o.Format {
	case "", transfer.FormatOCI, transfer.FormatDocker:
	default:
		return fmt.Errorf("unknown image format %q: oci or docker", o.Format)
	}
	if o.Format == "" && o.Compression.Zstd() {
		o.Format = transfer.FormatOCI
	}
	return o.Compression.CheckFor(o.Format == transfer.FormatDocker)
}

// checkArchive refuses what an archive of Docker's cannot have.
func (o PushOptions) checkArchive(img *cs.Image) error {
	switch by := o.Compression.Algorithm; {
	case isIndex(img):
		return errNoIndex
	case by != "" && by != compression.Uncompressed:
		return fmt.Errorf("an archive of Docker's has layers that are not compressed, and not by %s", by)
	}
	return nil
}

// Push copies an image of the store to dest, a registry reference or one with a
// transport; "" is the image's own name. It returns the manifest as sent. What the other side has
// is not sent again: blobs that the layers were pulled or sent as before are looked for there, and
// taken over from other repositories of the same registry.
func (s *Store) Push(ctx context.Context, ref, dest string, o PushOptions, a registry.Access) (imgspec.Descriptor, error) {
	if err := o.check(); err != nil {
		return imgspec.Descriptor{}, err
	}
	img, err := s.find(ref)
	if err != nil {
		return imgspec.Descriptor{}, err
	}
	done, err := s.useWhole(img)
	if err != nil {
		return imgspec.Descriptor{}, err
	}
	defer done()
	if dest == "" {
		if dest, err = s.matchingName(img, ref); err != nil {
			return imgspec.Descriptor{}, fmt.Errorf("image %s is not given by name, so that it needs a destination: %w", ref, imageref.ErrInvalid)
		}
	}
	to, err := destination(dest, o.ByDigest)
	if err != nil {
		return imgspec.Descriptor{}, err
	}
	sys, err := s.systemContext(a)
	if err != nil {
		return imgspec.Descriptor{}, err
	}
	d, err := s.pushInto(ctx, sys, img, to, o, a.Moving(dest, true))
	if err != nil && to.Transport().Name() != docker.Transport.Name() {
		err = fmt.Errorf("writing to %s: %w", transports.ImageName(to), err)
	}
	return d, err
}

// pushTo sends an image that is in use.
func (s *Store) pushTo(ctx context.Context, sys *types.SystemContext, img *cs.Image, to types.ImageReference, o PushOptions, a registry.Access) (imgspec.Descriptor, error) {
	trust, err := policy.Read(&types.SystemContext{SignaturePolicyPath: a.SignaturePolicy})
	if err != nil {
		return imgspec.Descriptor{}, err
	}
	src, err := s.sending(img)
	if err != nil {
		return imgspec.Descriptor{}, err
	}
	opts := transfer.Options{
		Source: &types.SystemContext{BigFilesTemporaryDir: sys.BigFilesTemporaryDir},
		Index:  true, Format: o.Format, Compression: o.Compression, Allow: trust.Allow, Blobs: s.blobs,
		Progress: moved(a),
	}
	archive := to.Transport().Name() == dockerarchive.Transport.Name()
	if err := o.checkArchive(img); err != nil && archive {
		return imgspec.Descriptor{}, err
	}
	if archive || o.Format == transfer.FormatDocker {
		s.noticeAnnotations(img, a)
	}
	if opts.There, err = s.sendAround(ctx, sys, to, img, o.IndexOnly, a, opts); err != nil {
		return imgspec.Descriptor{}, err
	}
	raw, err := s.send(ctx, sys, to, src, a, opts)
	if err != nil {
		return imgspec.Descriptor{}, err
	}
	d, err := manifest.Digest(raw)
	return imgspec.Descriptor{MediaType: manifest.GuessMIMEType(raw), Digest: d, Size: int64(len(raw))}, err
}

// moved tells a's Progress of a copy.
func moved(a registry.Access) func(transfer.Progress) {
	if a.Progress == nil {
		return nil
	}
	return func(p transfer.Progress) {
		a.Progress(registry.Moved{Blob: p.Digest, Offset: p.Offset, Size: p.Size})
	}
}

// send does one push.
func (s *Store) send(ctx context.Context, sys *types.SystemContext, to, src types.ImageReference, a registry.Access, o transfer.Options) (raw []byte, err error) {
	write := func(ctx context.Context, sys *types.SystemContext) error {
		o := o
		o.Dest = sys
		if o.Again != nil { // it is a registry
			o.Has = hasManifest(sys, to)
		}
		raw, err = transfer.Between(ctx, to, src, o)
		return err
	}
	if to.Transport().Name() == docker.Transport.Name() {
		o.Again = a.Again(registry.PushingTo, to.DockerReference())
		err := registry.Transfer(ctx, sys, a, registry.PushingTo, to.DockerReference(), write)
		return raw, err
	}
	return raw, write(ctx, sys)
}

var errNoIndex = errors.New("an archive of Docker's has no place for the images of several platforms: write an oci-archive, or build for one platform")

// hasManifest asks a registry whether it has a manifest by a name.
func hasManifest(sys *types.SystemContext, named types.ImageReference) func(context.Context, []byte) bool {
	return func(ctx context.Context, manifest []byte) bool {
		there, err := docker.GetDigest(ctx, sys, named)
		return err == nil && there == digest.FromBytes(manifest)
	}
}

// destination reads where Push sends an image. byDigest leaves the tag of a name in a registry away.
func destination(dest string, byDigest bool) (types.ImageReference, error) {
	to, found, err := parseTransport(dest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("writing to %w: make the directory that is to hold it first", err)
	}
	if err != nil {
		return to, err
	}
	if !found {
		var named reference.Named
		if named, err = reference.ParseNormalizedNamed(dest); err == nil {
			to, err = docker.NewReference(reference.TagNameOnly(named))
		}
	}
	if err == nil && byDigest {
		if to.Transport().Name() != docker.Transport.Name() {
			return nil, fmt.Errorf("%w %q: by its digest alone, an image is sent to registries", imageref.ErrInvalid, dest)
		}
		to, err = docker.NewReferenceUnknownDigest(reference.TrimNamed(to.DockerReference()))
	}
	if err != nil {
		return nil, fmt.Errorf("%w %q: %w", imageref.ErrInvalid, dest, err)
	}
	return to, nil
}

// nameTag gives an image that was pulled by digest the tag that stood beside the digest.
func (s *Store) nameTag(img Image, pulled reference.Named, tag string) (Image, error) {
	if tag == "" || pulled == nil {
		return img, nil
	}
	named, err := reference.WithTag(reference.TrimNamed(pulled), tag)
	if err == nil {
		err = s.addNames(img.ID, named.String())
	}
	if err != nil {
		return Image{}, fmt.Errorf("naming image %s: %w", img.ID, err)
	}
	return s.Find(img.ID)
}
