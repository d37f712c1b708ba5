package dockerfile

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/containerd/platforms"
	"golang.org/x/sync/errgroup"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/cache"
	"github.com/oakum-build/oakum/builder/index"
	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// shared is what the buildings of one build have in common.
type shared struct {
	several   bool   // there are
	id        string // as no other build's, so that equal steps are done once, with NoCache too
	slots     *slots
	numbering *numbering
	cache     *cache.Cache // nil where there is none but the store's

	mu      sync.Mutex
	waiting map[string]bool // by the platform, buildings that have all but their image
	wanted  int             // how many must have
	ready   chan struct{}   // closed when they do
}

// arrive waits until all buildings have all but their images, so that none is written when one fails.
func (s *shared) arrive(ctx context.Context, platform string) error {
	s.mu.Lock()
	if s.waiting[platform] = true; len(s.waiting) == s.wanted {
		s.wanted = 0 // closed once
		close(s.ready)
	}
	s.mu.Unlock()
	select {
	case <-s.ready:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func newShared(opts Options) *shared {
	return &shared{
		id: rand.Text(), slots: &slots{free: opts.jobs()}, numbering: &numbering{sink: opts.Progress},
		waiting: map[string]bool{}, wanted: 1, ready: make(chan struct{}),
	}
}

// platforms are those to build for, each once; "" is that of the base, or this machine's.
func (o Options) platforms() []string {
	var list []string
	for _, text := range o.Platforms {
		if p, err := plan.ParsePlatform(text); err == nil && text != "" {
			list = append(list, platforms.Format(p))
		}
	}
	if len(list) == 0 {
		return []string{""}
	}
	var once []string
	for _, text := range list {
		if !slices.Contains(once, text) {
			once = append(once, text)
		}
	}
	return once
}

// multiPlatform says that the build argument BUILDKIT_MULTI_PLATFORM asks for an index of one
// platform, too.
func (o Options) multiPlatform() bool {
	multi, err := strconv.ParseBool(o.args()["BUILDKIT_MULTI_PLATFORM"])
	return err == nil && multi
}

// buildIndex builds for several platforms at once, and commits an index of the images. The first
// error ends it all.
func buildIndex(ctx context.Context, b *builder.Builder, opts Options, in *loaded, platforms []string, common *shared) (builder.Image, error) {
	named := opts.Image.Names
	common.several, common.wanted, common.numbering.told = true, len(platforms), map[warning]bool{}
	opts.Image.Names = nil
	buildings := make([]*building, len(platforms))
	// The stages keep the images from being removed until the index has them.
	defer func() {
		for _, r := range buildings {
			if r != nil {
				r.close()
			}
		}
	}()
	for i, platform := range platforms {
		own := *in
		own.parse(opts.args())
		var err error
		if buildings[i], err = newBuilding(ctx, b, opts, &own, platform, common); err != nil {
			return builder.Image{}, err
		}
	}
	for _, r := range buildings {
		r.count() // all of them first, so that the number of steps is right from the start
	}
	images := make([]index.Member, len(platforms))
	group, inner := errgroup.WithContext(ctx)
	for i, r := range buildings {
		group.Go(func() error {
			img, last, err := r.build(inner)
			images[i] = index.Member{Ref: img.ID, Annotations: opts.annotated(onDescriptor, platforms[i])}
			buildings[i] = last
			return builtFor(platforms[i], err)
		})
	}
	if err := group.Wait(); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return builder.Image{}, err
	}
	if opts.Steps.CacheOnly {
		return builder.Image{}, opts.Cache.write(ctx, common.cache)
	}
	commit := builder.CommitOptions{Format: opts.Image.Format, Annotations: opts.annotated(onIndex, "")}
	name := ""
	if len(named) > 0 {
		name, commit.Names = named[0], named[1:]
	}
	img, err := b.CommitIndex(ctx, name, images, commit)
	if err == nil {
		err = opts.Cache.write(ctx, common.cache)
	}
	return img, err
}

// builtFor says for which platform something went wrong.
func builtFor(platform string, err error) error {
	var located *Error
	switch {
	case err == nil || platform == "":
		return err
	case errors.As(err, &located):
		at := *located
		at.Err = fmt.Errorf("for %s: %w", platform, located.Err)
		return &at
	}
	return fmt.Errorf("for %s: %w", platform, err)
}
