package dockerfile

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/explain"
	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// telling is what a task needs to tell of its present step why it is done or not.
type telling struct {
	doing *step        // the present one
	told  explain.Step // of it; zero where there is nothing to tell
	layer string       // that the stage has come to
}

// explainer is builder.StageOptions.Explain; nil when nobody asks.
func (t *task) explainer() func(explain.Step) {
	if !t.opts.Steps.Explain {
		return nil
	}
	return func(told explain.Step) {
		told.Changes = slices.Clone(told.Changes) // which the Builder's event has, too
		for i := range told.Changes {
			switch c := &told.Changes[i]; {
			case c.Kind == explain.Parent:
				c.Name = t.last
			case c.Kind == explain.Variable && t.isArgument(c.Name):
				c.Kind = explain.Argument
			case c.Kind == explain.Setting && t.scope != nil && len(t.scope.Uses()) > 0:
				c.Name += " with $" + strings.Join(t.scope.Uses(), ", $") // their values are in it, or in another part of the instruction
			}
		}
		t.told = told
		if t.doing != nil {
			t.doing.explained(told)
		}
	}
}

// isArgument says that a variable is what ARG has declared, and no ENV has set.
func (t *task) isArgument(name string) bool {
	if t.scope == nil || !t.scope.Declares(name) {
		return false
	}
	_, set := plan.Lookup(t.fs.Config().Env, name)
	return !set
}

// stepped notes what a step has come to.
func (t *task) stepped(instruction string, did builder.Step) {
	same := did.Layer == t.layer && !did.Removed && t.told.Size == 0 // one that is elsewhere has no name
	if !t.opts.Steps.Explain || same {
		return
	}
	t.layer, t.last = did.Layer, instruction
	if did.Layer == "" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.measurable[t.doing] = measurable{did.Layer, t.told}
}

// measurable is a step whose layer is as large as can be asked when it is registered.
type measurable struct {
	layer string
	told  explain.Step
}

// measure tells how large the layers of all steps are.
func (r *building) measure(ctx context.Context) {
	if len(r.measurable) == 0 {
		return
	}
	var layers []string
	for _, m := range r.measurable {
		layers = append(layers, m.layer)
	}
	sizes, err := r.b.LayerSizes(ctx, layers)
	if err != nil {
		r.progress.warn(0, "how large the layers are is not known: "+err.Error())
		return
	}
	inOrder := func(a, b *step) int { return a.event.Step - b.event.Step }
	for _, s := range slices.SortedFunc(maps.Keys(r.measurable), inOrder) {
		m := r.measurable[s]
		if size, known := sizes[m.layer]; known {
			m.told.Size = size
			s.explained(m.told)
		}
	}
}
