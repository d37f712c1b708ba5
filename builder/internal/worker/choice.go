//go:build linux

package worker

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/probe"
	"github.com/oakum-build/oakum/builder/internal/protocol"
	"github.com/oakum-build/oakum/builder/internal/userns"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/builder/isolation"
	"github.com/oakum-build/oakum/builder/machine"
	"github.com/oakum-build/oakum/storage"
)

// chosen is what this worker works with: each is the best that the machine has of it.
type chosen struct {
	looking bool // see Look
	level   isolation.Level
	lacks   []machine.Probe // that have failed, for which it is nothing better
}

// choose finds how commands are kept apart, and fails where that is less than is wanted.
func (w *worker) choose(h protocol.Hello) error {
	w.lacks = h.Refused
	switch {
	case w.kind.SharesPIDs():
		w.level = isolation.Reduced
	case w.kind != userns.Plain:
		w.level = isolation.Full
	default:
		p := probe.Chroot()
		if w.level = isolation.Chroot; !p.OK {
			w.level, w.lacks = isolation.NoCommands, append(w.lacks, p)
		}
	}
	if least := h.Isolation.Least; w.level < least {
		return lacking(fmt.Sprintf("commands cannot be kept apart from the machine as is required (isolation %s), but only as %s", least, w.level), w.ofCommands())
	}
	return nil
}

// ofCommands are those of what is lacking that commands are not kept apart better for.
func (c *chosen) ofCommands() []machine.Probe {
	return slices.DeleteFunc(slices.Clone(c.lacks), func(p machine.Probe) bool { return p.Name == string(userns.IDs) || p.Name == overlayProbe })
}

// lacking is an error of what the machine has refused.
func lacking(what string, lacks []machine.Probe) *errdefs.HostError {
	missing, fix := machine.Lacks(lacks)
	return &errdefs.HostError{Missing: what + ": " + missing, Remedy: fix}
}

// tellLevel warns of what commands are not kept from, when the first of them is run.
func (w *worker) tellLevel(call *wire.Call) {
	if w.level == isolation.Full {
		return
	}
	what := "commands are not kept apart from the container that oakum is in as they should be"
	if is, err := w.sandboxes.get(isolation.Default).Isolation(); err == nil {
		what += ", without " + strings.Join(is.Without, "; without ")
	}
	lacks := lacking(what, w.ofCommands())
	if lacks.Remedy != "" {
		lacks.Missing += "; to mend it: " + lacks.Remedy
	}
	w.warnOnce(call, lacks.Missing)
}

// overlayProbe is that of whether overlay can be mounted where the store is.
const overlayProbe = "overlay"

// openChosen opens the store with the driver that this worker can use: overlay where it has mounts and all
// ids, and the store lies where overlay can be mounted, and else tree.
func (w *worker) openChosen(opts storage.Options) (*storage.Store, error) {
	possible := w.kind != userns.Plain && w.kind.AllIDs()
	switch {
	case opts.Driver == storage.DriverTree:
	case !possible && opts.Driver != "":
		return nil, lacking(fmt.Sprintf("the storage driver %s cannot be used", opts.Driver), w.lacks)
	case !possible:
		opts.Driver = storage.DriverTree
	}
	st, err := openStore(opts)
	var place *storage.PlaceError
	if opts.Driver != "" || !errors.As(err, &place) || place.Unusable {
		return st, err
	}
	w.lacks = append(w.lacks, machine.Probe{Name: overlayProbe, Found: place.Error(), Fix: place.Fix()})
	opts.Driver = storage.DriverTree
	return openStore(opts)
}
