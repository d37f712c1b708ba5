//go:build linux

package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/extract"
	"github.com/oakum-build/oakum/builder/internal/protocol"
	"github.com/oakum-build/oakum/builder/internal/step"
	"github.com/oakum-build/oakum/builder/internal/workspace"
	"github.com/oakum-build/oakum/storage"
)

// squash makes one layer of those that a stage made on its image, or of all layers, and puts it into
// the history. It gives a stage that has come to that layer, to be closed by the caller; where
// there are not several layers it is nil.
func (w *worker) squash(ctx context.Context, s *step.Stage, p *protocol.Commit, reach step.Reach) (*step.Stage, error) {
	top := s.Top()
	if err := top.Wait(ctx); err != nil {
		return nil, err
	}
	keep := 0
	switch p.Squash {
	case "":
		return nil, nil
	case "new":
		keep = len(layersOf(s.Options().Image))
	case "all":
		p.Base = 0
	default:
		return nil, fmt.Errorf("%w: squashing %q is neither new nor all", errdefs.ErrInvalid, p.Squash)
	}
	layers := layersOf(top)
	if len(layers)-keep < 2 {
		return nil, nil
	}
	var below *storage.Layer
	if keep > 0 {
		below = layers[keep-1]
	}
	opts := s.Options()
	opts.Image = below
	one := w.steps.Open(below, opts)
	_, err := one.Do(ctx, step.Operation{
		Key:   step.SquashKey{},
		Reach: reach,
		Content: func(context.Context) (string, error) {
			chain, _ := top.Chain()
			return chain.Encoded(), nil
		},
		Do: func(ctx context.Context, ws workspace.Workspace) (string, error) {
			here, err := s.Present(ctx, reach)
			if err != nil {
				return "", err
			}
			chain, _ := here.Chain()
			return chain.Encoded(), w.putLayers(ctx, layersOf(here)[keep:], ws)
		},
	})
	if err == nil {
		err = squashHistory(p, layers)
	}
	if err != nil {
		one.Close()
		return nil, err
	}
	return one, nil
}

// layersOf are a layer and those below it, the lowest first.
func layersOf(l *storage.Layer) []*storage.Layer {
	var all []*storage.Layer
	for ; l != nil; l = l.Parent() {
		all = append(all, l)
	}
	slices.Reverse(all)
	return all
}

// putLayers makes of a root what layers make of it.
func (w *worker) putLayers(ctx context.Context, layers []*storage.Layer, ws workspace.Workspace) error {
	o := extract.Options{Owners: ws.Owners()}
	o.MaxBytes, o.MaxFiles = w.store.LayerLimits()
	for _, l := range layers {
		tar, err := w.store.OpenTar(l)
		if err != nil {
			return err
		}
		if err := errors.Join(extract.Layer(ctx, ws.Root(), tar, o), tar.Close()); err != nil {
			return fmt.Errorf("squashing the layer %.12s: %w", l.ID(), err)
		}
	}
	return nil
}

// squashHistory lets the entries of the layers that are one now be such without a layer, dated as they
// were, and adds one for that.
func squashHistory(p *protocol.Commit, layers []*storage.Layer) error {
	if len(p.History) == 0 {
		return nil
	}
	times := make([]time.Time, len(layers))
	for i, l := range layers {
		times[i] = l.Created()
	}
	if _, err := datedHistory(p.History, times); err != nil {
		return err
	}
	for i := p.Base; i < len(p.History); i++ {
		p.History[i].EmptyLayer = true
	}
	p.History = append(p.History, imgspec.History{CreatedBy: "SQUASH", Comment: "the layers of the entries above are one"})
	return nil
}
