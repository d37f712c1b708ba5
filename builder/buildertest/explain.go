package buildertest

import (
	"context"

	"github.com/oakum-build/oakum/builder/explain"
	"github.com/oakum-build/oakum/builder/internal/protocol"
	"github.com/oakum-build/oakum/builder/internal/protocol/layers"
	"github.com/oakum-build/oakum/builder/internal/wire"
)

// explain tells whether a step was found. What has changed since an earlier one is not known here.
func (st *stage) explain(call *wire.Call, found *layer) {
	if !st.Explain {
		return
	}
	told := explain.Step{Cause: explain.New}
	switch {
	case found != nil:
		told = explain.Step{Cached: true, From: explain.Store, Created: found.created, Size: found.size}
	case st.NoCache:
		told.Cause = explain.NoCache
	}
	call.Event(protocol.Event{Explained: &told})
}

func (s *server) layerSizes(_ context.Context, _ *wire.Call, q layers.Sizes) (map[string]int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sizes := map[string]int64{}
	for _, id := range q.Layers {
		if l := s.cache[id]; l != nil {
			sizes[id] = l.size
		}
	}
	return sizes, nil
}
