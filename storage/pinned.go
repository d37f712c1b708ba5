//go:build linux

package storage

import (
	"fmt"
	"strings"

	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
)

// unpin parts a reference NAME:TAG@DIGEST into NAME@DIGEST, which is the image that it
// means, and the tag, which says to people what the digest stands for. Any other reference
// stays as it is.
func unpin(ref string) (digested, tag string) {
	prefix, text := "", ref
	if rest, ok := strings.CutPrefix(ref, docker.Transport.Name()+"://"); ok {
		prefix, text = docker.Transport.Name()+"://", rest
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
