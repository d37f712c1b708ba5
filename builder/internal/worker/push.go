//go:build linux

package worker

import (
	"context"
	"fmt"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/protocol/outgoing"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/storage"
)

func (w *worker) newPush(ctx context.Context, call *wire.Call, p outgoing.NewPush) (wire.None, error) {
	push, err := w.store.NewPush(ctx, p.Dests, p.Options, w.access(call, p.Access))
	if err != nil {
		return wire.None{}, err
	}
	w.mu.Lock()
	_, taken := w.pushes[p.Push]
	if !taken {
		w.pushes[p.Push] = push
	}
	w.mu.Unlock()
	if taken {
		push.Close()
		return wire.None{}, fmt.Errorf("%w: push %q", errdefs.ErrInvalid, p.Push)
	}
	return wire.None{}, nil
}

func (w *worker) push(id string) (*storage.Push, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.pushes[id]
	if p == nil {
		return nil, fmt.Errorf("%w: no push %q", errdefs.ErrInvalid, id)
	}
	return p, nil
}

func (w *worker) finishPush(ctx context.Context, call *wire.Call, p outgoing.FinishPush) ([]imgspec.Descriptor, error) {
	push, err := w.push(p.Push)
	if err != nil {
		return nil, err
	}
	defer w.memory.moving()()
	return push.Finish(ctx, p.Ref, w.access(call, p.Access))
}

func (w *worker) closePush(_ context.Context, _ *wire.Call, p outgoing.ClosePush) (wire.None, error) {
	w.mu.Lock()
	push := w.pushes[p.Push]
	delete(w.pushes, p.Push)
	w.mu.Unlock()
	if push != nil {
		push.Close()
	}
	return wire.None{}, nil
}
