package dockerfile

import (
	"context"
	"fmt"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/cache"
)

// Cache is where the layer cache is beside the store.
type Cache struct {
	// From are caches elsewhere, or images that have one in them. Steps that the store does not know are looked
	// up in them, in their order; their layers are fetched when they are needed. One that cannot be read, or fails to
	// give a layer, is a warning of the Builder's, and its steps are done.
	From []cache.At
	// To are caches that are written when all is built: what the build has found and done, in place of what
	// is there. One that cannot be written is an error of Build, unless its IgnoreErrors says otherwise; the image
	// is in the store then, and is given with the error.
	To []cache.Target
	// Inline puts what a later build needs to know into the configuration of the image, whose layers are
	// the cache then.
	Inline bool
}

func (c Cache) validate() error {
	for _, at := range c.From {
		if err := at.Check(); err != nil {
			return fmt.Errorf("a cache to read: %w: %w", builder.ErrInvalid, err)
		}
	}
	for _, to := range c.To {
		if err := to.Check(); err != nil {
			return fmt.Errorf("a cache to write: %w: %w", builder.ErrInvalid, err)
		}
	}
	return nil
}

// openCache reads the caches, of which a build that runs every step needs none. It gives nil where there is
// neither one to read nor one to write.
func (o Options) openCache(ctx context.Context, b *builder.Builder) (*cache.Cache, error) {
	from := o.Cache.From
	if o.Steps.NoCache {
		from = nil
	}
	if len(from)+len(o.Cache.To) == 0 && !o.Cache.Inline {
		return nil, nil
	}
	return b.ImportCache(ctx, from...)
}

// write writes the caches, while stages of the build keep their layers in the store.
func (c Cache) write(ctx context.Context, of *cache.Cache) error {
	for _, to := range c.To {
		if _, err := of.Export(ctx, to); err != nil {
			return fmt.Errorf("writing the cache %s: %w", to, err)
		}
	}
	return nil
}
