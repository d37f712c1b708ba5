// Package imageindex tells of the images that an index has (OCI image index, or Docker's manifest list).
package imageindex

import (
	"cmp"
	"fmt"
	"strings"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/storage/platform"
)

// Entry is an image of an index.
type Entry struct {
	imgspec.Descriptor        // of its manifest, as the index has it
	ID                 string // of the image in the store; "" when it is not there
	// From is where one is that is not there and need not be: docker://REGISTRY/NAME@DIGEST.
	From string
}

// For is the platform that the index tells.
func (e Entry) For() platform.Platform {
	if e.Platform == nil {
		return platform.Platform{}
	}
	return platform.Platform{OS: e.Platform.OS, Architecture: e.Platform.Architecture, Variant: e.Platform.Variant}
}

// Choose gives the id of the first image in the store that is for a platform, this machine's with the
// zero value. Without one, it says what there is instead.
func Choose(entries []Entry, want platform.Platform) (id, instead string) {
	want = cmp.Or(want, platform.Host())
	var has []string
	for _, e := range entries {
		text := e.For().String()
		if e.ID == "" && e.From != "" {
			text += " (in " + e.From + ")"
		} else if e.ID == "" {
			text += " (not in the store)"
		} else if e.For().Fits(want) {
			return e.ID, ""
		}
		has = append(has, text)
	}
	return "", fmt.Sprintf("the store has it for %s, not for %s", strings.Join(has, " and "), want)
}
