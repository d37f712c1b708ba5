package dockerfile

import (
	"context"
	"slices"

	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// findUnread finds the stages that need not be built, and the images that need not be pulled, although others copy from them, for
// all that is copied is in the cache. That matters where the store was pruned, since such a
// stage's own layers are gone then, and where the cache is elsewhere, from which they and the stage's base need not
// be fetched. The whole build is looked up first, and nothing of it is done.
func (r *building) findUnread(ctx context.Context) (map[*plan.Stage]bool, error) {
	if r.opts.Steps.NoCache {
		return nil, nil
	}
	opts := r.opts
	opts.Progress, opts.Steps.Explain = nil, false
	if len(opts.Cache.From) == 0 {
		if remembers, err := r.b.Remembers(ctx); err != nil || !remembers {
			return nil, err
		}
	}
	common := newShared(opts)
	common.cache = r.cache
	look := r.again(opts, common)
	look.lookup = true
	defer look.close()
	if !look.copiesFromOthers() && !look.hasTriggers(ctx) {
		return nil, nil
	}
	target, err := look.stages(ctx)
	if err != nil {
		return nil, err
	}
	read, unread := look.readStages(target), map[*plan.Stage]bool{}
	for s := range look.nodes { // an image is the same in all buildings by a plan, by whatever trigger
		if !read[s] && (s.Index >= 0 || s.Context == "") {
			unread[s] = true
		}
	}
	return unread, nil
}

// copiesFromOthers says that the plan has a stage beside the target, or an instruction that copies from an image.
func (r *building) copiesFromOthers() bool {
	needed := r.plan.Needed()
	return len(needed) > 1 || slices.ContainsFunc(needed[0].Commands, func(c plan.Command) bool { return len(c.From) > 0 })
}

// hasTriggers says that the target, which is on no other stage, starts from an image with triggers, in a building that only
// looks up. One that cannot be had is told of by who builds.
func (r *building) hasTriggers(ctx context.Context) bool {
	t := &task{building: r, node: &node{Stage: r.plan.Target}}
	if !t.fromImage() {
		return false
	}
	opts := r.stageOptions(t.Name)
	opts.Platform, opts.Lookup = t.Platform, true
	if err := t.open(ctx, opts); err != nil {
		return false
	}
	defer t.fs.Close()
	return len(t.fs.Config().OnBuild) > 0
}

// readStages finds the stages whose files are needed, in a building that has looked all up.
func (r *building) readStages(target *node) map[*plan.Stage]bool {
	read := map[*plan.Stage]bool{}
	r.reads(target.Stage, read)
	for known := 0; known != len(read); {
		known = len(read)
		for _, s := range r.needed() {
			if r.onNew(s, read) {
				r.reads(s, read)
			}
		}
	}
	return read
}

// onNew says that a stage starts or copies from one that will be made again, so that it is
// not the same any more.
func (r *building) onNew(s *plan.Stage, read map[*plan.Stage]bool) bool {
	isNew := func(s *plan.Stage) bool { return s != nil && s.Index >= 0 && read[s] && r.node(s).gone }
	return isNew(s.Base) || slices.ContainsFunc(r.node(s).all, func(c plan.Command) bool { return slices.ContainsFunc(c.From, isNew) })
}

// reads notes the stages whose files are needed to build s: those that it starts from, and
// those of which it copies or mounts what is not found, or found only on a layer that must be made
// again.
func (r *building) reads(s *plan.Stage, read map[*plan.Stage]bool) {
	if s == nil || read[s] {
		return
	}
	read[s] = true
	if s.Index < 0 { // an image, or files that are no stage
		return
	}
	r.reads(s.Base, read)
	for _, before := range s.After {
		r.reads(before, read)
	}
	for _, c := range r.node(s).left {
		for _, from := range c.From {
			r.reads(from, read)
		}
	}
}
