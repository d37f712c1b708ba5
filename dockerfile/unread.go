package dockerfile

import (
	"context"
	"slices"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// findUnread finds the stages that need not be built although others copy from them, for
// all that is copied is in the cache. That matters where the store was pruned, since such a
// stage's own layers are gone then. The whole build is looked up first, and nothing of it
// is done.
func (r *run) findUnread(ctx context.Context) (map[int]bool, error) {
	needed := r.plan.Needed()
	if len(needed) < 2 || r.opts.NoCache {
		return nil, nil
	}
	if remembers, err := r.lib.Remembers(ctx); err != nil || !remembers {
		return nil, err
	}
	opts := r.opts
	opts.Progress = nil
	if opts.Pull == builder.PullMissing {
		opts.Pull = builder.PullNever
	}
	look, err := newRun(ctx, r.lib, opts, r.src)
	if err != nil {
		return nil, err
	}
	look.lookup = true
	defer look.close()
	target, err := look.stages(ctx)
	if err != nil {
		return nil, err
	}
	read, unread := map[int]bool{}, map[int]bool{}
	look.reads(target.Stage, read)
	for known := 0; known != len(read); {
		known = len(read)
		for _, s := range look.plan.Needed() {
			if look.onNew(s, read) {
				look.reads(s, read)
			}
		}
	}
	for _, s := range needed {
		if !read[s.Index] {
			unread[s.Index] = true
		}
	}
	return unread, nil
}

// onNew says that a stage starts or copies from one that will be made again, so that it is
// not the same any more.
func (r *run) onNew(s *plan.Stage, read map[int]bool) bool {
	isNew := func(s *plan.Stage) bool { return s != nil && s.Index >= 0 && read[s.Index] && r.node(s).gone }
	return isNew(s.Base) || slices.ContainsFunc(s.Commands, func(c plan.Command) bool { return isNew(c.From) })
}

// reads notes the stages whose files are needed to build s: those that it starts from, and
// those of which it copies what is not found, or found only on a layer that must be made
// again.
func (r *run) reads(s *plan.Stage, read map[int]bool) {
	if s == nil || s.Index < 0 || read[s.Index] {
		return
	}
	read[s.Index] = true
	r.reads(s.Base, read)
	for _, before := range s.After {
		r.reads(before, read)
	}
	for _, c := range r.node(s).left {
		r.reads(c.From, read)
	}
}
