package outgoing

import (
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/registry"
)

// NewPush begins to push an image while it is built, to several names.
type NewPush struct {
	Push    string // the caller's choice, unique
	Dests   []string
	Options storage.PushOptions
	Access  registry.Access
}

// Gives declares the method.
func (NewPush) Gives(wire.None) string { return "newpush" }

// FinishPush sends what is left of the image, and gives the manifests in the order of the names.
type FinishPush struct {
	Push, Ref string
	Access    registry.Access
}

// Gives declares the method.
func (FinishPush) Gives([]imgspec.Descriptor) string { return "finishpush" }

// ClosePush ends what NewPush began.
type ClosePush struct{ Push string }

// Gives declares the method.
func (ClosePush) Gives(wire.None) string { return "closepush" }
