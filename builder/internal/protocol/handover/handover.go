// Package handover declares the calls by which a worker goes on with the stages of somebody who has only looked.
package handover

import (
	"encoding/json"
	"time"

	"github.com/oakum-build/oakum/builder/internal/wire"
)

// Ask asks for what another worker must know to go on with the stages that are open.
type Ask struct{}

// Gives declares the method.
func (Ask) Gives(Take) string { return "handover" }

// Take has a worker go on with what Ask gave.
type Take struct {
	Stages []Stage
	Told   []string // what is told once, and has been
}

// Gives declares the method.
func (Take) Gives(wire.None) string { return "takeover" }

// Stage is an open stage, which looks into the cache of the store alone. What is not described is as in protocol.Open.
type Stage struct {
	Stage, Name, Build string
	Lookup             bool
	CacheTTL           time.Duration
	Times              *Times
	WorkdirTimes       *Times
	Base, BaseDigest   string          // the image that it is on, for who watches
	Image, At          json.RawMessage // the layer of that, and the one that it has come to, of storage.Layer.Ref
	Steps              int             // that it has had
}

// Times are those of protocol.
type Times struct {
	Limit int64
	All   bool
}
