// Package index has what indexes of images are made of (OCI image index, or Docker's manifest list).
package index

import "github.com/oakum-build/oakum/storage/imageindex"

// Member is an image that an index is to have: one of the store, or one that stays in its registry.
type Member = imageindex.Member

// Edit is a change of an index. The zero value changes nothing.
type Edit = imageindex.Edit

// Annotation is a text about an image, for those who read its manifest or the index that it is in (OCI
// image specification, "Annotations").
type Annotation struct {
	// On is "manifest", or "": the image's manifest; "index": the index of the images for
	// several platforms; or "manifest-descriptor": what that says of the image. The last two are for
	// builds that make an index.
	On string
	// Platform, OS/ARCH[/VARIANT], is the one of whose image alone it is told; "" is all of them.
	// An index is of no platform.
	Platform    string
	Name, Value string
}
