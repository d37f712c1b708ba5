//go:build linux

package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	digest "github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker"
	dockerarchive "go.podman.io/image/v5/docker/archive"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/manifest"
	ociarchive "go.podman.io/image/v5/oci/archive"
	"go.podman.io/image/v5/signature"
	istorage "go.podman.io/image/v5/storage"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/transports/alltransports"
	"go.podman.io/image/v5/types"
	cs "go.podman.io/storage"
)

// allowedTransports are those an image may come from or go to by a reference with a
// prefix. The daemons and the store itself are left out.
var allowedTransports = []string{"docker", "oci", "oci-archive", "docker-archive", "dir"}

const transportList = "docker://NAME, oci:DIR, oci-archive:FILE, docker-archive:FILE and dir:DIR"

// ownStore is the prefix of a name for an image of the store.
const ownStore = "containers-storage:"

// policy reads policy.json. A machine without any accepts every image, as Docker does.
func policy(sys *types.SystemContext) (*signature.PolicyContext, error) {
	p, err := signature.DefaultPolicy(sys)
	if errors.Is(err, fs.ErrNotExist) && sys.SignaturePolicyPath == "" {
		p, err = &signature.Policy{Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the signature policy: %w", err)
	}
	return signature.NewPolicyContext(p)
}

func parseTransport(ref string) (types.ImageReference, bool, error) {
	if !HasTransport(ref) {
		name, _, _ := strings.Cut(ref, ":")
		if name != docker.Transport.Name() && name != ref && transports.Get(name) != nil {
			return nil, true, fmt.Errorf("%w %q: %s: is nothing that images come from or go to here; they do by a name in a registry, and by %s", ErrReference, ref, name, transportList)
		}
		return nil, false, nil
	}
	r, err := alltransports.ParseImageName(ref)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, true, fmt.Errorf("%w: %s: %w", ErrNotFound, ref, err)
	}
	if err != nil {
		return nil, true, fmt.Errorf("%w %q: %w", ErrReference, ref, err)
	}
	return r, true, nil
}

// Pull copies an image into the store and gives it. ref is a name, or has one of the
// transports docker, oci, oci-archive, docker-archive or dir. An image that an archive or
// layout gives a name gets that name, as by podman pull. Of NAME:TAG@DIGEST the digest
// counts, and the image gets the name NAME:TAG as well. Where ref has several platforms it
// is the image for p, and for this machine with the zero value.
func (s *Store) Pull(ctx context.Context, ref string, p Platform, a Access) (Image, error) {
	return s.pull(ctx, ref, p, a, true)
}

// PullBase is Pull of an image to build from, for a platform where ref has several. It gets
// the name that it was asked by and no other: what a file calls itself is its maker's choice,
// and the next build that asks for that name must not get it. For the same reason a tag
// beside a digest names nothing: it need not be what the registry has by that tag. With any but the zero
// platform it gets no name at all: the name stays with the image for this machine.
func (s *Store) PullBase(ctx context.Context, ref string, p Platform, a Access) (Image, error) {
	return s.pull(ctx, ref, p, a, false)
}

// pull is Pull, and with inner false PullBase.
func (s *Store) pull(ctx context.Context, ref string, p Platform, a Access, inner bool) (Image, error) {
	if strings.HasPrefix(ref, ownStore) { // there is nothing to fetch
		img, err := s.find(ref)
		if err != nil {
			return Image{}, err
		}
		return s.image(img)
	}
	ref, tag := unpin(ref)
	if !inner {
		tag = ""
	}
	sys, err := s.systemContext(a)
	if err != nil {
		return Image{}, err
	}
	sys.OSChoice, sys.ArchitectureChoice, sys.VariantChoice = p.OS, p.Architecture, p.Variant
	src, found, err := parseTransport(ref)
	if err != nil {
		return Image{}, err
	}
	if found {
		img, err := s.pullFrom(ctx, sys, src, a, inner)
		switch {
		case err == nil:
			return s.nameTag(img, src.DockerReference(), tag)
		case src.Transport().Name() == docker.Transport.Name(): // the error says all
		case unmapped(err) != nil:
			err = fmt.Errorf("pulling %s: %w", ref, unmapped(err))
		case errors.As(err, new(signature.PolicyRequirementError)):
			err = fmt.Errorf("pulling %s: the signature policy does not allow it: %w", ref, err)
		case diskFull(err):
			err = fmt.Errorf("pulling %s: the disk is full: there is no room for it where the store is, or in TMPDIR: %s", ref, brief(err.Error()))
		case errors.Is(err, fs.ErrNotExist), errors.As(err, &ociarchive.ArchiveFileNotFoundError{}):
			err = fmt.Errorf("pulling %s: %w: %w", ref, ErrNotFound, err)
		}
		return img, err
	}
	return s.pullNamed(ctx, sys, ref, tag, a, inner)
}

// pullNamed pulls from the registries that a name may be in. The image also gets the name
// with tag, unless that is "".
func (s *Store) pullNamed(ctx context.Context, sys *types.SystemContext, ref, tag string, a Access, inner bool) (Image, error) {
	names, err := s.remoteNames(sys, ref)
	if err != nil {
		return Image{}, err
	}
	if a.Username != "" && a.Host == "" && len(names) > 1 {
		return Image{}, fmt.Errorf("%w %q: %w", ErrReference, ref, errCreds)
	}
	var errs []error
	for _, named := range names {
		src, err := docker.NewReference(named)
		if err != nil {
			return Image{}, fmt.Errorf("%w %q: %w", ErrReference, ref, err)
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
func (s *Store) pullFrom(ctx context.Context, sys *types.SystemContext, src types.ImageReference, a Access, inner bool) (img Image, err error) {
	if src.Transport().Name() != docker.Transport.Name() {
		return s.copyFrom(ctx, sys, src, inner)
	}
	err = transfer(ctx, sys, a, pulling, src.DockerReference(), func(ctx context.Context, sys *types.SystemContext) error {
		img, err = s.copyFrom(ctx, sys, src, inner)
		return err
	})
	return img, err
}

// copyFrom does one pull.
func (s *Store) copyFrom(ctx context.Context, sys *types.SystemContext, src types.ImageReference, inner bool) (Image, error) {
	dest, err := s.pulledReference(ctx, sys, src, inner)
	if err != nil {
		return Image{}, err
	}
	pc, err := policy(sys)
	if err != nil {
		return Image{}, &localError{err}
	}
	defer func() { _ = pc.Destroy() }()
	var resolved types.ImageReference
	_, err = copy.Image(ctx, pc, dest, src, &copy.Options{
		SourceCtx: sys, DestinationCtx: sys, ReportWriter: io.Discard,
		ReportResolvedReference: &resolved,
	})
	if errors.Is(err, cs.ErrDuplicateID) {
		return s.builtHere(ctx, sys, src, dest.DockerReference())
	}
	if err != nil {
		return Image{}, err
	}
	_, img, err := istorage.ResolveReference(resolved)
	if err != nil {
		return Image{}, err
	}
	return s.image(img)
}

// builtHere finds the image that src is, when the store has it with layers of other
// ids: a build's layers have ids of their own. It gets the name and src's manifest.
func (s *Store) builtHere(ctx context.Context, sys *types.SystemContext, src types.ImageReference, name reference.Named) (Image, error) {
	remote, err := src.NewImage(ctx, sys)
	if err != nil {
		return Image{}, err
	}
	defer remote.Close()
	raw, _, err := remote.Manifest(ctx)
	if err != nil {
		return Image{}, err
	}
	id := remote.ConfigInfo().Digest.Encoded()
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

// HasTransport says that a reference names where the image is, as oci-archive:PATH does.
func HasTransport(ref string) bool {
	name, rest, found := strings.Cut(ref, ":")
	if name == docker.Transport.Name() && !strings.HasPrefix(rest, "//") {
		return false // the image docker
	}
	return found && slices.Contains(allowedTransports, name)
}

// File is a reference to an archive or layout of this machine: Transport ":" Path Rest,
// where Rest chooses the image.
type File struct{ Transport, Path, Rest string }

// FileOf takes such a reference apart.
func FileOf(ref string) (f File, ok bool) {
	if !HasTransport(ref) || strings.HasPrefix(ref, docker.Transport.Name()+":") {
		return f, false
	}
	f.Transport, f.Path, _ = strings.Cut(ref, ":")
	if path, rest, found := strings.Cut(f.Path, ":"); found && f.Transport != "dir" {
		f.Path, f.Rest = path, ":"+rest
	}
	return f, true
}

func (f File) String() string { return f.Transport + ":" + f.Path + f.Rest }

// IsDir says that it is a directory.
func (f File) IsDir() bool { return f.Transport == "oci" || f.Transport == "dir" }

func (s *Store) reference(name string) (types.ImageReference, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return nil, fmt.Errorf("%w %q: %w", ErrReference, name, err)
	}
	return istorage.Transport.NewStoreReference(&naming{Store: s.cs, of: s, names: []string{reference.TagNameOnly(named).String()}}, named, "")
}

// RemoteDigest asks a registry for the digest of ref's manifest there.
func (s *Store) RemoteDigest(ctx context.Context, ref string, a Access) (digest.Digest, error) {
	sys, err := s.systemContext(a)
	if err != nil {
		return "", err
	}
	ref, _ = unpin(ref)
	names, err := s.remoteNames(sys, ref)
	if err != nil {
		return "", err
	}
	var errs []error
	for _, named := range names {
		r, err := docker.NewReference(named)
		if err != nil {
			return "", fmt.Errorf("%w %q: %w", ErrReference, ref, err)
		}
		d, err := remoteDigest(ctx, sys, r, a)
		if err == nil {
			return d, nil
		}
		errs = append(errs, err)
	}
	return "", errors.Join(errs...)
}

func remoteDigest(ctx context.Context, sys *types.SystemContext, ref types.ImageReference, a Access) (d digest.Digest, err error) {
	err = transfer(ctx, sys, a, asking, ref.DockerReference(), func(ctx context.Context, sys *types.SystemContext) error {
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

// Push copies an image of the store to dest, a registry reference or one with a
// transport; "" is the image's own name. format converts the manifest: "oci",
// "docker" or "". It returns the manifest as sent.
func (s *Store) Push(ctx context.Context, ref, dest, format string, a Access) (Manifest, error) {
	img, err := s.find(ref)
	if err != nil {
		return Manifest{}, err
	}
	use, err := s.useImage(img)
	if err != nil {
		return Manifest{}, err
	}
	defer use.Close()
	if dest == "" {
		if dest, err = s.matchingName(img, ref); err != nil {
			return Manifest{}, fmt.Errorf("image %s is not given by name, so that it needs a destination: %w", ref, ErrReference)
		}
	}
	to, err := destination(dest)
	if err != nil {
		return Manifest{}, err
	}
	sys, err := s.systemContext(a)
	if err != nil {
		return Manifest{}, err
	}
	pc, err := policy(&types.SystemContext{SignaturePolicyPath: a.SignaturePolicy})
	if err != nil {
		return Manifest{}, err
	}
	defer func() { _ = pc.Destroy() }()
	src, err := istorage.Transport.NewStoreReference(s.cs, nil, img.ID)
	if err != nil {
		return Manifest{}, err
	}
	opts := copy.Options{SourceCtx: &types.SystemContext{BigFilesTemporaryDir: sys.BigFilesTemporaryDir}, ReportWriter: io.Discard}
	if opts.ForceManifestMIMEType, err = mimeType(format); err != nil {
		return Manifest{}, err
	}

	if opts.ForceManifestMIMEType == manifest.DockerV2Schema2MediaType || to.Transport().Name() == dockerarchive.Transport.Name() {
		s.noticeAnnotations(img, a)
	}
	var raw []byte
	write := func(ctx context.Context, sys *types.SystemContext) error {
		opts := opts
		opts.DestinationCtx = sys
		raw, err = send(ctx, pc, to, src, &opts)
		return err
	}
	if to.Transport().Name() == docker.Transport.Name() {
		err = transfer(ctx, sys, a, pushingTo, to.DockerReference(), write)
	} else if err = write(ctx, sys); err != nil {
		err = fmt.Errorf("writing to %s: %w", dest, err)
	}
	if err != nil {
		return Manifest{}, err
	}
	d, err := manifest.Digest(raw)
	return Manifest{manifest.GuessMIMEType(raw), d, int64(len(raw))}, err
}

// mimeType is that of a format's manifest; "" keeps what there is.
func mimeType(format string) (string, error) {
	switch format {
	case "":
		return "", nil
	case "oci":
		return v1.MediaTypeImageManifest, nil
	case "docker":
		return manifest.DockerV2Schema2MediaType, nil
	}
	return "", fmt.Errorf("unknown image format %q: oci or docker", format)
}

// destination reads where Push sends an image.
func destination(dest string) (types.ImageReference, error) {
	to, found, err := parseTransport(dest)
	if found || err != nil {
		return to, err
	}
	named, err := reference.ParseNormalizedNamed(dest)
	if err == nil {
		to, err = docker.NewReference(reference.TagNameOnly(named))
	}
	if err != nil {
		return nil, fmt.Errorf("%w %q: %w", ErrReference, dest, err)
	}
	return to, nil
}
