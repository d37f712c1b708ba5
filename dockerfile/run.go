package dockerfile

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/dockerfile/internal/lint"
	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// run is one build. Every stage that is needed is built by a goroutine of its own,
// which waits for another only where it starts from it or copies from it. Stages
// copy only from stages before them, so that no two can wait for each other.
type run struct {
	lib      backend
	opts     Options
	src      source
	plan     *plan.Plan
	progress *progress
	slots    *slots
	group    *errgroup.Group
	strict   bool // what the checks find is an error
	lookup   bool // steps are only looked up: see unread.go

	unread map[int]bool // by their indexes, stages whose files nothing reads

	mu     sync.Mutex
	nodes  map[*plan.Stage]*node
	layers map[string]plan.Command // by the layer, the instruction that made it

	id string // of this build, as no other's
}

// node is the building of one stage, or of an image that is copied from.
type node struct {
	*plan.Stage
	start sync.Once
	done  chan struct{} // closed when the stage is built; what follows is fixed then

	fs     stage // nil until the base is there
	scope  *plan.Scope
	author string

	missed bool           // in a run that only looks up: not all steps are in the cache
	gone   bool           // in such a run: the layer that it has come to is
	left   []plan.Command // what is not done, or in such a run, not found with its layer

	local origin // in place of fs: a directory that is only copied from

	original lint.Base // what the base image sets, for the checks
}

// files is what a COPY from the built node takes its files from.
func (n *node) files() origin {
	if n.fs == nil {
		return n.local
	}
	return origin{from: n.fs}
}

// newRun plans a build.
func newRun(ctx context.Context, lib backend, opts Options, src source) (*run, error) {
	r := &run{
		lib: lib, opts: opts, src: src,
		progress: &progress{sink: opts.Progress},
		slots:    &slots{free: opts.jobs()},
		nodes:    map[*plan.Stage]*node{},
		layers:   map[string]plan.Command{},
		id:       rand.Text(),
	}
	options, dated := opts.plan(src), false
	options.EpochOf = func(s plan.EpochSource) (*time.Time, error) { dated = true; return r.epochOf(ctx, s) }
	var err error
	if r.plan, err = plan.New(src.text, options); err != nil {
		return nil, src.locate(err, 0, 0, "")
	}
	if opts.RewriteTimes && opts.Timestamp == nil && r.plan.Epoch == nil && !dated {
		return nil, errors.New("nothing says to which time those of files are limited: SOURCE_DATE_EPOCH is not set")
	}
	return r, r.checkEarly()
}

// stages builds the target and what it needs. The first error ends it all.
func (r *run) stages(ctx context.Context) (*node, error) {
	group, inner := errgroup.WithContext(ctx)
	r.group = group
	needed := r.plan.Needed()
	for _, s := range needed {
		r.node(s) // first of all, so that the number of steps is right from the start
	}
	for _, s := range needed {
		r.need(inner, s)
	}
	err := group.Wait()
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return nil, cause
	}
	return r.node(r.plan.Target), r.blame(err)
}

// node gives the node of a stage, counting its steps when it is new.
func (r *run) node(s *plan.Stage) *node {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.nodes[s]
	if n == nil {
		n = &node{Stage: s, done: make(chan struct{})}
		r.nodes[s] = n
		if s.Index >= 0 {
			r.progress.grow(1 + len(s.Commands))
		}
	}
	return n
}

// need sees to it that a stage is being built, and what it needs too.
func (r *run) need(ctx context.Context, s *plan.Stage) *node {
	n := r.node(s)
	n.start.Do(func() {
		for _, c := range s.Commands {
			if c.From != nil {
				r.need(ctx, c.From)
			}
		}
		for _, before := range s.After {
			r.need(ctx, before)
		}
		w := &worker{run: r, node: n}
		var after <-chan struct{}
		if s.Base != nil {
			w.base = r.need(ctx, s.Base)
			after = w.base.done
		}
		slot := r.slots.enter(after) // here, not in the goroutine: in the file's order
		r.group.Go(func() error { return w.build(ctx, slot) })
	})
	return n
}

// wrote notes which instruction made a layer.
func (r *run) wrote(layer string, c plan.Command) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.layers[layer]; !known { // later ones may leave it as it is
		r.layers[layer] = c
	}
}

// blame gives the error of a layer the place of the instruction that made it, instead of
// that of the one which came to know of it.
func (r *run) blame(err error) error {
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
	return r.src.locate(layer, c.Line, c.End, "")
}

// commit writes the image.
func (r *run) commit(ctx context.Context, target *node) (builder.Image, error) {
	if r.opts.Platform != "" {
		if err := target.fs.SetPlatform(r.opts.Platform); err != nil {
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
	target.fs.Configure(r.amend)
	opts := builder.CommitOptions{Format: r.opts.Format, Author: target.author, Created: r.created(), Annotations: r.opts.Annotations}
	name := ""
	if len(r.opts.Names) > 0 {
		name, opts.Names = r.opts.Names[0], r.opts.Names[1:]
	}
	img, err := target.fs.Commit(ctx, name, opts)
	return img, r.blame(err)
}

// amend makes the changes to the image's configuration that the options ask for.
func (r *run) amend(c *builder.Config) {
	if len(r.opts.Labels) > 0 {
		c.Labels = merged(c.Labels, r.opts.Labels)
	}
	for _, entry := range r.opts.Env {
		name, value, _ := strings.Cut(entry, "=")
		c.Env = plan.SetEnv(slices.Clone(c.Env), name, value)
	}
	c.Env = slices.DeleteFunc(slices.Clone(c.Env), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains(r.opts.UnsetEnv, name)
	})
}

// created is the time given to the image; nil when none is.
func (r *run) created() *time.Time {
	if r.opts.Timestamp != nil {
		return r.opts.Timestamp
	}
	return r.plan.Epoch
}

// stageOptions are those of a stage or of an image.
func (r *run) stageOptions(name string) builder.StageOptions {
	uncached := slices.ContainsFunc(r.opts.NoCacheStages, func(s string) bool { return strings.EqualFold(s, name) })
	o := builder.StageOptions{Name: name, Pull: r.opts.Pull, NoCache: r.opts.NoCache || uncached, Build: r.id, WorkdirTime: r.plan.Epoch}
	if r.opts.Timestamp != nil || r.opts.RewriteTimes {
		o.LatestTime, o.AllTimes = r.created(), r.opts.Timestamp != nil
	}
	return o
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
func (r *run) close() {
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
