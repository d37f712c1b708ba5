package dockerfile

import (
	"context"
	"errors"
	"time"

	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// epochArg is the build argument for reproducible images.
const epochArg = "SOURCE_DATE_EPOCH"

// epochOf gives the time of a source that SOURCE_DATE_EPOCH names, as BuildKit does: of a
// repository that of its commit, of a file of the web that of its Last-Modified, and of
// other archives that of their latest file. Others have none.
func (r *run) epochOf(ctx context.Context, s plan.EpochSource) (*time.Time, error) {
	at, err := r.sourceTime(ctx, s)
	if err == nil && at == nil {
		r.progress.warn(0, epochArg+" names a source that has no time of its own")
	}
	return at, err
}

func (r *run) sourceTime(ctx context.Context, s plan.EpochSource) (*time.Time, error) {
	ref := s.Remote
	switch {
	case ref != "":
	case s.Context != "":
		ref = r.opts.Contexts[s.Context]
	case r.opts.Context != nil && r.src.context != nil:
		return latest(ctx, r.src.context)
	default:
		ref = r.opts.ContextURL
	}
	if !isRepository(ref) && !isURL(ref) {
		return nil, nil
	}
	from, err := r.opts.remoteFile(ctx, ref, isRepository(ref))
	if err != nil {
		return nil, err
	}
	f := files{dest: "/", remote: []remoteFile{from}, checksum: s.Checksum, gitOptions: gitOptions{commitTimes: true}}
	if !from.git {
		f.dest = "/" + fetched
	}
	file, err := intoStage(ctx, r.lib, f)
	if err != nil {
		return nil, err
	}
	at, err := latest(ctx, file)
	if at == nil && err == nil && !from.git {
		at, err = r.archiveTime(ctx, file)
	}
	return at, errors.Join(err, file.Close())
}

// archiveTime is that of the latest file of an archive.
func (r *run) archiveTime(ctx context.Context, file stage) (*time.Time, error) {
	tree, err := unpacked(ctx, r.lib, file)
	if tree == nil {
		return nil, err
	}
	at, err := latest(ctx, tree)
	return at, errors.Join(err, tree.Close())
}

// latest is the time of the latest file; nil for none. A file of the web that no time
// came with is from 1970.
func latest(ctx context.Context, s stage) (*time.Time, error) {
	at, err := s.LatestTime(ctx)
	if err != nil || at.IsZero() || at.Unix() == 0 {
		return nil, err
	}
	at = at.Truncate(time.Second).UTC()
	return &at, nil
}
