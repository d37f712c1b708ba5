package dockerfile

import (
	"context"
	"time"

	"github.com/oakum-build/oakum/dockerfile/internal/load"
	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// epochOf gives the time of a source that SOURCE_DATE_EPOCH names, as BuildKit does: of a
// repository that of its commit, of a file of the web that of its Last-Modified, and of
// other archives that of their latest file. Others have none.
func (r *building) epochOf(ctx context.Context, s plan.EpochSource) (*time.Time, error) {
	at, err := r.sourceTime(ctx, s)
	if err == nil && at == nil {
		r.progress.warn(0, "SOURCE_DATE_EPOCH names a source that has no time of its own")
	}
	return at, err
}

func (r *building) sourceTime(ctx context.Context, s plan.EpochSource) (*time.Time, error) {
	ref := s.Remote
	switch {
	case ref != "":
	case s.Context != "":
		ref = r.in.places[s.Context].Remote
	case r.opts.Context.Stream != nil && r.in.Context.Fetched():
		return r.in.Context.Latest(ctx)
	default:
		ref = r.opts.Context.URL
	}
	place, err := load.RemotePlace(ref)
	if err != nil || place.Remote == "" {
		return nil, err
	}
	return r.in.loader.Time(ctx, place, s.Checksum)
}
