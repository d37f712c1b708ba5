//go:build linux

package worker

import (
	"context"
	"maps"
	"slices"

	"github.com/oakum-build/oakum/builder/explain"
	"github.com/oakum-build/oakum/builder/internal/protocol"
	single "github.com/oakum-build/oakum/builder/internal/protocol/layers"
	"github.com/oakum-build/oakum/builder/internal/step"
	"github.com/oakum-build/oakum/builder/internal/wire"
)

// explaining tells a call's caller why a step was found or not, if the stage is to.
func explaining(call *wire.Call, s *step.Stage) func(explain.Step) {
	if !s.Options().Explain {
		return nil
	}
	return func(told explain.Step) { call.Event(protocol.Event{Explained: &told}) }
}

func (w *worker) layerSizes(ctx context.Context, _ *wire.Call, p single.Sizes) (map[string]int64, error) {
	w.mu.Lock()
	stages := slices.Collect(maps.Values(w.stages))
	w.mu.Unlock()
	for _, s := range stages {
		if err := s.Top().Wait(ctx); ctx.Err() != nil {
			return nil, err
		}
	}
	sizes := map[string]int64{}
	for _, id := range p.Layers {
		if l, err := w.store.Layer(id); err == nil && l != nil {
			sizes[id] = l.Size()
		}
	}
	return sizes, nil
}
