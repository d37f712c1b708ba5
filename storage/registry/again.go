package registry

import (
	"context"
	"strings"
	"time"

	"go.podman.io/image/v5/docker/reference"
)

// Again gives what does a part of a transfer, such as that of a layer, until it succeeds or fails for
// good, by the policy of a. The Transfer that it is part of does not try again what was tried often
// enough here.
func (a Access) Again(verb string, named reference.Named) func(ctx context.Context, what string, do func() error) error {
	return func(ctx context.Context, what string, do func() error) error {
		return a.Retry.Do(ctx, verb+" "+named.String()+": "+what, ofPart, do)
	}
}

// ofPart is temporary for a part of a transfer. A client of the library greets its registry once, and
// keeps the outcome: only another client mends that.
func ofPart(err error) (after time.Duration, ok bool) {
	if strings.Contains(err.Error(), "pinging container registry ") {
		return 0, false
	}
	return temporary(err)
}
