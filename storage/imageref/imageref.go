// Package imageref reads references to images: a name in a registry or in the store, with a
// tag or a digest, or the place of an archive or layout behind a transport's name, as in
// oci-archive:app.tar.
package imageref

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/pkg/shortnames"
)

// ErrInvalid says that a reference is not of the right form.
var ErrInvalid = errors.New("invalid image reference")

// registryTransport is the transport of images in registries; docker://NAME is NAME.
const registryTransport = "docker"

// transports are those an image may come from or go to by a reference with a prefix. The
// daemons and the store itself are left out.
var transports = []string{registryTransport, "oci", "oci-archive", "docker-archive", "dir"}

// TransportList is the forms of references with a transport, to tell users.
const TransportList = "docker://NAME, oci:DIR, oci-archive:FILE, docker-archive:FILE and dir:DIR"

// OwnStore is the prefix of a name for an image of the store.
const OwnStore = "containers-storage:"

// Canonical is the full name under which an image called name is stored: with a
// registry ("localhost" when it names none, as Buildah and Podman do) and a tag.
func Canonical(name string) (string, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", fmt.Errorf("%w %q: %w", ErrInvalid, name, err)
	}
	if _, digested := named.(reference.Digested); digested {
		return "", fmt.Errorf("%w %q: an image cannot be given a name with a digest", ErrInvalid, name)
	}
	if shortnames.IsShortName(name) {
		if named, err = reference.ParseNormalizedNamed("localhost/" + name); err != nil {
			return "", fmt.Errorf("%w %q: %w", ErrInvalid, name, err)
		}
	}
	return reference.TagNameOnly(named).String(), nil
}

// HasTransport says that a reference names where the image is, as oci-archive:PATH does.
func HasTransport(ref string) bool {
	name, rest, found := strings.Cut(ref, ":")
	if name == registryTransport && !strings.HasPrefix(rest, "//") {
		return false // the image docker
	}
	return found && slices.Contains(transports, name)
}

// File is a reference to an archive or layout of this machine: Transport ":" Path Rest,
// where Rest chooses the image.
type File struct{ Transport, Path, Rest string }

// ParseFile takes such a reference apart; ok says that it is one.
func ParseFile(ref string) (f File, ok bool) {
	if !HasTransport(ref) || strings.HasPrefix(ref, registryTransport+":") {
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

// Unpin parts a reference NAME:TAG@DIGEST into NAME@DIGEST, which is the image that it
// means, and the tag, which says to people what the digest stands for. Any other reference
// stays as it is.
func Unpin(ref string) (digested, tag string) {
	prefix, text := "", ref
	if rest, ok := strings.CutPrefix(ref, registryTransport+"://"); ok {
		prefix, text = registryTransport+"://", rest
	}
	parsed, err := reference.Parse(text)
	if err != nil {
		return ref, ""
	}
	named, isTagged := parsed.(reference.NamedTagged)
	sum, isDigested := parsed.(reference.Digested)
	if !isTagged || !isDigested {
		return ref, ""
	}
	short, err := reference.WithDigest(reference.TrimNamed(named), sum.Digest())
	if err != nil {
		return ref, ""
	}
	return prefix + short.String(), named.Tag()
}

// Named is an image of the store, and names that it has elsewhere.
type Named struct {
	Ref   string
	Names []string
}
