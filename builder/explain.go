package builder

import (
	"context"

	"github.com/oakum-build/oakum/builder/event"
	"github.com/oakum-build/oakum/builder/explain"
	"github.com/oakum-build/oakum/builder/internal/protocol/layers"
)

// explaining is what a stage needs to tell why its steps were found or not.
type explaining struct {
	tell  func(explain.Step) // StageOptions.Explain
	doing string             // the text of the present step
	last  string             // that of the last one that changed the files
}

// explained tells of the present step of the teller's stage.
func (t *teller) explained(ctx context.Context, told explain.Step) {
	s := t.stage
	if s == nil || s.tell == nil {
		return
	}
	for i := range told.Changes {
		if c := &told.Changes[i]; c.Kind == explain.Parent {
			c.Name = s.last
		}
	}
	t.tell(ctx, event.Event{Kind: event.StepExplained, Step: s.doing, Explained: &told})
	s.tell(told)
}

// LayerSizes gives, by their names as Step.Layer has them, how long layers are as uncompressed tars. It
// waits for those that are being registered. One that is not in the store is left out.
func (b *Builder) LayerSizes(ctx context.Context, names []string) (map[string]int64, error) {
	return call(ctx, b, layers.Sizes{Layers: names})
}
