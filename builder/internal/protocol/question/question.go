// Package question declares what the worker asks its caller while a call runs, as package protocol
// declares the calls.
package question

import (
	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/storage/authfile"
)

// Logins asks the caller for what only the user's own process finds: the logins for
// repositories.
type Logins struct {
	AuthFile     string
	Repositories []string
}

// Gives declares the method.
func (Logins) Gives(authfile.Logins) string { return "logins" }

// Grant asks for what only the caller has of a mount of its command, before that is run. The
// question's file is, for a secret, the one to write its content to, which so passes through
// no message; for ssh it is a socket that listens, on which the agent is to be served until the
// call ends.
type Grant struct {
	Mount int // its number in protocol.Run.Mounts
}

// Gives declares the method.
func (Grant) Gives(wire.None) string { return "grant" }

// Failed tells the caller that its command has failed, and has it look at what is left. Until it
// answers, commands run there by the call protocol.Rerun.
type Failed struct {
	Held string // names the failed command
	Exit errdefs.ExitError
}

// Gives declares the method.
func (Failed) Gives(wire.None) string { return "failed" }

// PlaceHas, PlaceGet and PlacePut ask for a place of the caller's for caches (remotecache.Place). The question's file
// is a pipe, to which the content is to be written, or which it is to be read from.
type (
	// PlaceHas asks whether there is something of a name.
	PlaceHas struct{ Place, Name string }
	// PlaceGet asks for what has a name.
	PlaceGet struct{ Place, Name string }
	// PlacePut has something kept.
	PlacePut struct {
		Place, Name string
		Size        int64
	}
)

// Gives declares the method.
func (PlaceHas) Gives(bool) string { return "placehas" }

// Gives declares the method.
func (PlaceGet) Gives(wire.None) string { return "placeget" }

// Gives declares the method.
func (PlacePut) Gives(wire.None) string { return "placeput" }
