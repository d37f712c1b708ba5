package imageindex

import (
	"cmp"

	digest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Member is an image that an index is to have.
type Member struct {
	// Ref is the image: its id, or a name of it in the store. One that the store has not, or that begins
	// with docker://, stays in its registry: of that only its manifest is read, and the index has it
	// by its digest. In an Edit it may also be the digest of an image that the index has.
	Ref string
	// All takes all images of a Ref that is an index itself; else the one for this machine is taken.
	All bool
	// Platform is what the index says of the image; what is empty in it is as the image's configuration has it.
	Platform *imgspec.Platform
	// Annotations are those of what the index says of the image.
	Annotations map[string]string
}

// Said gives the platform that an index tells of an image that is for another one by itself.
func (m Member) Said(is *imgspec.Platform) *imgspec.Platform {
	if m.Platform == nil || is == nil {
		return cmp.Or(m.Platform, is)
	}
	said := *is
	said.OS, said.Architecture = cmp.Or(m.Platform.OS, is.OS), cmp.Or(m.Platform.Architecture, is.Architecture)
	if said.Variant = cmp.Or(m.Platform.Variant, is.Variant); m.Platform.Variant == "" && said.Architecture != is.Architecture {
		said.Variant = "" // it was one of the other processor
	}
	said.OSVersion = cmp.Or(m.Platform.OSVersion, is.OSVersion)
	if len(m.Platform.OSFeatures) > 0 {
		said.OSFeatures = m.Platform.OSFeatures
	}
	return &said
}

// Edit is a change of an index.
type Edit struct {
	// Make says whether there must be an index: "" changes one; "new" makes one of a name that nothing has;
	// "amend" changes the one that is there, or makes one; "replace" makes one, and what
	// else has the name loses it.
	Make string
	// Docker gives an index that is made Docker's media type, a manifest list.
	Docker bool
	// Remove are the digests of images that the index has no more.
	Remove []digest.Digest
	// Add are images that it has from now on. Of one that it has already, the Platform changes
	// and the Annotations replace what it said, unless they are nil.
	Add []Member
	// Annotations are set beside those that the index has.
	Annotations map[string]string
}
