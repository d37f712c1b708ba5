//go:build linux

package worker

import (
	"context"
	"errors"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/builder/internal/protocol"
	"github.com/oakum-build/oakum/builder/internal/protocol/upkeep"
	"github.com/oakum-build/oakum/builder/internal/step"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/builder/isolation"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/usage"
)

// server serves the methods of the protocol.
func (w *worker) server() *wire.Server {
	s := wire.NewServer(protocol.Encode, w.ready)
	wire.Handle(s, w.start)
	wire.Handle(s, w.info)
	wire.Handle(s, w.removeStore)
	w.serveStages(s)
	w.serveImages(s)
	return s
}

// ready gives the error of a worker that cannot do a call, or not yet.
func (w *worker) ready(method string) error {
	switch {
	case w.store == nil && method != protocol.Hello{}.Gives(isolation.Means{}) && method != upkeep.RemoveStore{}.Gives(wire.None{}):
		return errors.New("the store is not open")
	}
	return nil
}

func (w *worker) removeStore(_ context.Context, _ *wire.Call, p upkeep.RemoveStore) (wire.None, error) {
	if w.store != nil {
		return wire.None{}, errors.New("the store is open")
	}
	return wire.None{}, storage.RemoveStore(p.Store)
}

func (w *worker) serveStages(s *wire.Server) {
	wire.Handle(s, w.open)
	wire.Handle(s, func(ctx context.Context, call *wire.Call, p protocol.Copy) (protocol.Stepped, error) {
		return w.come(p.Stage)(w.copy(ctx, call, p))
	})
	wire.Handle(s, func(ctx context.Context, call *wire.Call, p protocol.Mkdir) (protocol.Stepped, error) {
		return w.come(p.Stage)(w.mkdir(ctx, call, p))
	})
	wire.Handle(s, func(ctx context.Context, call *wire.Call, p protocol.Run) (protocol.Stepped, error) {
		return w.come(p.Stage)(w.run(ctx, call, p))
	})
	wire.Handle(s, w.rerun)
	wire.Handle(s, w.checkCommand)
	wire.Handle(s, w.commit)
	wire.Handle(s, w.readFile)
	wire.Handle(s, w.latestTime)
	wire.Handle(s, w.layerSizes)
	wire.Handle(s, w.export)
	wire.Handle(s, w.closeStage)
	wire.Handle(s, w.handOver)
	wire.Handle(s, w.takeOver)
}

// stepped is the outcome of a step on a stage.
func stepped(r step.Result, err error) (protocol.Stepped, error) {
	return protocol.Stepped{Cached: r.Cached, Changed: r.Changed}, err
}

// come completes the outcome with what the stage has come to.
func (w *worker) come(stage string) func(protocol.Stepped, error) (protocol.Stepped, error) {
	return func(out protocol.Stepped, err error) (protocol.Stepped, error) {
		if err != nil {
			return out, err
		}
		s, err := w.stage(stage)
		if err == nil {
			top := s.Top()
			out.Layer, out.Gone = top.ID(), top.Gone() && !top.IsElsewhere()
		}
		return out, err
	}
}

func (w *worker) serveImages(s *wire.Server) {
	wire.Handle(s, func(context.Context, *wire.Call, protocol.Images) ([]storage.Image, error) { return w.store.Images() })
	wire.Handle(s, func(_ context.Context, _ *wire.Call, p protocol.Inspect) (storage.Detail, error) {
		if p.Choose {
			return w.store.InspectFor(p.Ref, p.Platform)
		}
		return w.store.Inspect(p.Ref)
	})
	wire.Handle(s, func(_ context.Context, _ *wire.Call, p protocol.Tag) (wire.None, error) {
		return wire.None{}, w.store.Tag(p.Ref, p.Names)
	})
	wire.Handle(s, func(_ context.Context, _ *wire.Call, p protocol.Remove) (storage.Removed, error) {
		return w.store.Remove(p.Ref, p.Force, p.Unnamed)
	})
	wire.Handle(s, func(ctx context.Context, call *wire.Call, p protocol.Pull) (storage.Image, error) {
		return w.pulling(call, p.Ref, func() (storage.Image, error) {
			return w.withFile(ctx, call, p.Ref, nil, func(ref string) (storage.Image, error) {
				return w.store.Pull(ctx, ref, p.Platform, w.access(call, p.Access))
			})
		})
	})
	wire.Handle(s, w.save)
	wire.Handle(s, w.load)
	wire.Handle(s, func(ctx context.Context, call *wire.Call, p protocol.Push) (imgspec.Descriptor, error) {
		defer w.memory.moving()()
		return w.store.Push(ctx, p.Ref, p.Dest, p.Options, w.access(call, p.Access))
	})
	wire.Handle(s, w.newPush)
	wire.Handle(s, w.finishPush)
	wire.Handle(s, w.closePush)
	wire.Handle(s, w.importCache)
	wire.Handle(s, w.exportCache)
	wire.Handle(s, w.closeCache)
	wire.Handle(s, w.exportMounts)
	wire.Handle(s, w.importMounts)
	wire.Handle(s, func(ctx context.Context, _ *wire.Call, p upkeep.Prune) (storage.Pruned, error) {
		return w.store.Prune(ctx, p.Options)
	})
	wire.Handle(s, func(ctx context.Context, _ *wire.Call, p upkeep.DiskUsage) (usage.Report, error) {
		return w.store.DiskUsage(ctx, p.Filter)
	})
	wire.Handle(s, func(context.Context, *wire.Call, protocol.Remembers) (bool, error) { return w.store.Remembers(), nil })
}
