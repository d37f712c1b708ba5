package dockerfile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"golang.org/x/sync/errgroup"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/isolation"
	"github.com/oakum-build/oakum/dockerfile/internal/lint"
	"github.com/oakum-build/oakum/dockerfile/internal/load"
	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// building is one build. Every stage that is needed is built by a goroutine of its own,
// which waits for another only where it starts from it or copies from it. Stages
// copy only from stages before them, so that no two can wait for each other.
type building struct {
	b        *builder.Builder
	opts     Options
	in       *loaded
	plan     *plan.Plan
	platform string // to build for, or ""
	progress *progress
	*shared
	group  *errgroup.Group
	lookup bool // steps are only looked up: see unread.go
	dry    bool // and nothing is fetched for that: see dryrun.go

	unread map[*plan.Stage]bool // stages and images whose files nothing reads

	mu     sync.Mutex
	nodes  map[*plan.Stage]*node
	layers map[string]plan.Command // by the layer, the instruction that made it
	// measurable are the steps of which an event is to tell how large they are.
	measurable map[*step]measurable
}

// node is the building of one stage, or of an image that is copied from.
type node struct {
	*plan.Stage
	start sync.Once
	done  chan struct{} // closed when the stage is built; what follows is fixed then

	fs     *builder.Stage // nil until the base is there
	scope  *plan.Scope
	author string
	all    []plan.Command // of the stage, with the triggers of its base
	last   string         // the text of the last step that changed the files
	steps  []int          // the numbers of its steps in the events

	missed bool           // in a building that only looks up: not all steps are in the cache
	gone   bool           // in such a one: the layer that it has come to is
	left   []plan.Command // what is not done, or in such a one, not found with its layer

	local load.Tree // in place of fs: a directory that is only copied from

	original lint.Base // what the base image sets, for the checks
}

// files is what a COPY from the built node takes its files from.
func (n *node) files() builder.Source {
	if n.fs == nil {
		return n.local.Files()
	}
	return n.fs.Path()
}

// newBuilding plans a build, and checks the plan as far as its checks are strict.
func newBuilding(ctx context.Context, b *builder.Builder, opts Options, in *loaded, platform string, common *shared) (*building, error) {
	r := (&building{b: b, in: in, platform: platform}).again(opts, common)
	dated := false
	epochOf := func(s plan.EpochSource) (*time.Time, error) { dated = true; return r.epochOf(ctx, s) }
	var err error
	if r.plan, err = in.plan(opts, platform, epochOf); err != nil {
		return nil, err
	}
	if in.checksErr != nil {
		return nil, in.locate(in.checksErr, 0, 0, "")
	}
	if opts.Image.RewriteTimes && opts.Image.Timestamp == nil && r.plan.Epoch == nil && !dated {
		return nil, errors.New("nothing says to which time those of files are limited: SOURCE_DATE_EPOCH is not set")
	}
	if err := r.checkEarly(); err != nil {
		return nil, err
	}
	if err := r.checkRuns(); err != nil {
		return nil, err
	}
	return r, r.checkGiven(ctx)
}

// checkRuns refuses the first RUN, before anything is pulled, where no command can be run.
func (r *building) checkRuns() error {
	for _, s := range r.plan.Needed() {
		for _, c := range s.Commands {
			if _, is := c.Command.(*instructions.RunCommand); !is {
				continue
			}
			if level, why := r.b.Isolation(); level == isolation.NoCommands {
				return r.in.locate(why, c.Line, c.End, "")
			}
			return nil
		}
	}
	return nil
}

// again is another building by the same plan.
func (r *building) again(opts Options, common *shared) *building {
	again := &building{
		b: r.b, opts: opts, in: r.in, plan: r.plan, platform: r.platform, shared: common,
		progress: &progress{numbering: common.numbering},
		nodes:    map[*plan.Stage]*node{},
		layers:   map[string]plan.Command{},

		measurable: map[*step]measurable{},
	}
	if common.several {
		again.progress.platform = r.platform
	}
	return again
}

// stages builds the target and what it needs. The first error ends it all.
func (r *building) stages(ctx context.Context) (*node, error) {
	group, inner := errgroup.WithContext(ctx)
	r.group = group
	r.count()
	for _, s := range r.plan.Needed() {
		r.need(inner, s)
	}
	err := group.Wait()
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return nil, cause
	}
	return r.node(r.plan.Target), r.blame(err)
}

// count makes the nodes of all stages that are known to be needed, before any of their steps is done.
func (r *building) count() {
	for _, s := range r.plan.Needed() {
		r.node(s)
	}
}

// node gives the node of a stage, counting its steps when it is new.
func (r *building) node(s *plan.Stage) *node {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.nodes[s]
	if n == nil {
		n = &node{Stage: s, done: make(chan struct{}), all: s.Commands, left: s.Commands}
		r.nodes[s] = n
		if s.Index >= 0 {
			r.progress.grow(1 + len(s.Commands))
		}
	}
	return n
}

// needed lists the stages of the file that have turned out to be needed, by triggers of base images too, in the file's order.
func (r *building) needed() (all []*plan.Stage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for s := range r.nodes {
		if s.Index >= 0 {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b *plan.Stage) int { return a.Index - b.Index })
	return all
}

// need sees to it that a stage is being built, and what it needs too.
func (r *building) need(ctx context.Context, s *plan.Stage) *node {
	n := r.node(s)
	n.start.Do(func() {
		for _, c := range s.Commands {
			for _, from := range c.From {
				r.need(ctx, from)
			}
		}
		for _, before := range s.After {
			r.need(ctx, before)
		}
		t := &task{building: r, node: n}
		var after <-chan struct{}
		if s.Base != nil {
			t.base = r.need(ctx, s.Base)
			after = t.base.done
		}
		slot := r.slots.enter(after) // here, not in the goroutine: in the file's order
		r.group.Go(func() error { return t.build(ctx, slot) })
	})
	return n
}

// wrote notes which instruction made a layer.
func (r *building) wrote(layer string, c plan.Command) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.layers[layer]; !known { // later ones may leave it as it is
		r.layers[layer] = c
	}
}

// blame gives the error of a layer the place of the instruction that made it, instead of
// that of the one which came to know of it.
func (r *building) blame(err error) error {
	var layer *builder.LayerError
	if !errors.As(err, &layer) {
		return err
	}
	r.mu.Lock()
	c, known := r.layers[layer.Layer]
	r.mu.Unlock()
	if !known {
		return err
	}
	return r.in.locate(layer, c.Line, c.End, "")
}

// commit writes the image.
func (r *building) commit(ctx context.Context, target *node) (builder.Image, error) {
	if r.platform != "" {
		if err := target.fs.SetPlatform(r.platform); err != nil {
			return builder.Image{}, err
		}
	}
	if err := r.check(ctx, target); err != nil {
		return builder.Image{}, err
	}
	names, meant := r.plan.Unused()
	for _, name := range names {
		text := fmt.Sprintf("build argument %s is not used: no ARG declares it", name)
		if meant[name] != "" {
			text += "; did you mean " + meant[name] + "?"
		}
		r.progress.warn(0, text)
	}
	target.fs.Configure("", r.amend)
	opts := r.commitOptions(target)
	name := ""
	if len(r.opts.Image.Names) > 0 {
		name, opts.Names = r.opts.Image.Names[0], r.opts.Image.Names[1:]
	}
	if err := r.arrive(ctx, r.platform); err != nil {
		return builder.Image{}, err
	}
	if r.opts.Steps.CacheOnly {
		return builder.Image{}, nil
	}
	img, err := target.fs.Commit(ctx, name, opts)
	return img, r.blame(err)
}

// amend makes the changes to the image's configuration that the options ask for.
func (r *building) amend(c *builder.Config) {
	c.Labels = r.opts.Image.labelled(c.Labels)
	for _, entry := range r.opts.Image.Env {
		name, value, _ := strings.Cut(entry, "=")
		c.Env = plan.SetEnv(slices.Clone(c.Env), name, value)
	}
	c.Env = slices.DeleteFunc(slices.Clone(c.Env), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains(r.opts.Image.UnsetEnv, name)
	})
}

// created is the time given to the image; nil when none is.
func (r *building) created() *time.Time {
	if r.opts.Image.Timestamp != nil {
		return r.opts.Image.Timestamp
	}
	return r.plan.Epoch
}

// stageOptions are those of a stage or of an image.
func (r *building) stageOptions(name string) builder.StageOptions {
	o := builder.StageOptions{Name: name, Pull: r.opts.Steps.Pull, NoCache: r.uncached(name), Build: r.id, CacheTTL: r.opts.Steps.CacheTTL, WorkdirTime: r.plan.Epoch, Cache: r.cache}
	if r.opts.Image.Timestamp != nil || r.opts.Image.RewriteTimes {
		o.LatestTime, o.AllTimes = r.created(), r.opts.Image.Timestamp != nil
	}
	return o
}

// uncached says that every step of a stage is to be done anew.
func (r *building) uncached(stage string) bool {
	return r.opts.Steps.NoCache || slices.ContainsFunc(r.opts.Steps.NoCacheStages, func(s string) bool { return strings.EqualFold(s, stage) })
}

// ofImage says whether a stage's layers are the image's: those of the target, and of what it is based on.
func (r *building) ofImage(s *plan.Stage) bool {
	for is := r.plan.Target; is != nil; is = is.Base {
		if is == s {
			return true
		}
	}
	return false
}

// merged copies a map and sets further entries in it.
func merged[V any](m, more map[string]V) map[string]V {
	all := make(map[string]V, len(m)+len(more))
	maps.Copy(all, m)
	maps.Copy(all, more)
	return all
}

// close closes every stage, those that others start from last. No goroutine of the
// build may be left.
func (r *building) close() {
	lastFirst := func(a, b *node) int { return b.Index - a.Index }
	for _, n := range slices.SortedFunc(maps.Values(r.nodes), lastFirst) {
		if n.fs == nil {
			continue
		}
		if err := n.fs.Close(); err != nil {
			r.progress.warn(0, fmt.Sprintf("closing stage %s: %v", n.Name, err))
		}
	}
}
