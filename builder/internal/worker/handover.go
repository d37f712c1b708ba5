//go:build linux

package worker

import (
	"context"
	"maps"
	"slices"

	"github.com/oakum-build/oakum/builder/internal/protocol/handover"
	"github.com/oakum-build/oakum/builder/internal/step"
	"github.com/oakum-build/oakum/builder/internal/wire"
)

// handOver gives what a worker must know to go on.
func (w *worker) handOver(context.Context, *wire.Call, handover.Ask) (handover.Take, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := handover.Take{Told: slices.Sorted(maps.Keys(w.told))}
	for id, s := range w.stages {
		o := s.Options()
		one := handover.Stage{
			Stage: id, Name: o.Origin.Name, Lookup: o.Lookup, Build: o.Build, CacheTTL: o.TTL, Times: (*handover.Times)(o.Times), WorkdirTimes: (*handover.Times)(o.WorkdirTimes),
			Base: o.Origin.Base, BaseDigest: o.Origin.BaseDigest, Steps: s.Steps(),
		}
		var err error
		if one.Image, err = o.Image.Ref(); err == nil {
			one.At, err = s.Top().Ref()
		}
		if err != nil {
			return out, err
		}
		out.Stages = append(out.Stages, one)
	}
	return out, nil
}

// takeOver goes on with stages that somebody has opened who only looked. Those who look use the layers until it has
// returned, so it fails only if another program has removed some by force.
func (w *worker) takeOver(ctx context.Context, call *wire.Call, p handover.Take) (wire.None, error) {
	w.mu.Lock()
	for _, text := range p.Told {
		w.told[text] = true
	}
	w.mu.Unlock()
	for _, one := range p.Stages {
		image, err := w.store.LayerAt(one.Image)
		if err != nil {
			return wire.None{}, err
		}
		at, err := w.store.LayerAt(one.At)
		if err != nil {
			return wire.None{}, err
		}
		s := w.steps.Resume(at, one.Steps, step.Options{
			Lookup: one.Lookup, Build: one.Build, TTL: one.CacheTTL, Image: image, Times: (*step.Times)(one.Times), WorkdirTimes: (*step.Times)(one.WorkdirTimes),
			Origin: step.Origin{Name: one.Name, Base: one.Base, BaseDigest: one.BaseDigest},
		})
		if !at.Gone() {
			_, err = s.Claimed(ctx, w.reach(call))
		}
		if err != nil {
			s.Close()
			return wire.None{}, err
		}
		if err := w.addStage(one.Stage, s); err != nil {
			return wire.None{}, err
		}
	}
	return wire.None{}, nil
}
