package dockerfile

import (
	"context"
	"errors"
	"fmt"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/explain"
	"github.com/oakum-build/oakum/dockerfile/forecast"
	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// DryRun tells what Build would do with each step. It builds nothing, pulls no image and fetches nothing
// but the context, if that is elsewhere, and what Options.Cache has of records. A step after one that is to be done is forecast.Unknown, for what that gives
// may be what it gave before. Of opts.Progress it uses warnings alone.
func DryRun(ctx context.Context, b *builder.Builder, opts Options) (all []forecast.Step, err error) {
	if err := opts.validate(); err != nil {
		return nil, err
	}
	opts.remember()
	in, err := loadAll(ctx, func(context.Context) (*builder.Builder, error) { return b, nil }, opts)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	platforms := opts.platforms()
	common := newShared(opts)
	opts.Cache.To, opts.Cache.Inline = nil, false
	if common.cache, err = opts.openCache(ctx, b); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, common.cache.Close()) }()
	if common.several = len(platforms) > 1 || opts.multiPlatform(); common.several {
		common.numbering.told = map[warning]bool{}
	}
	for _, platform := range platforms {
		own := *in
		own.parse(opts.args())
		r, err := newBuilding(ctx, b, opts, &own, platform, common)
		if err != nil {
			return nil, err
		}
		of, err := r.forecast(ctx)
		if err != nil {
			return nil, builtFor(platform, err)
		}
		all = append(all, of...)
	}
	for i := range all {
		all[i].Step = i + 1
	}
	return all, nil
}

// errNotFetched is that of what a dry run does not fetch.
var errNotFetched = errors.New("what is at the server is not fetched to compare it")

// forecast looks the whole build up.
func (r *building) forecast(ctx context.Context) ([]forecast.Step, error) {
	opts, seen := r.opts, &watch{steps: map[int]*watched{}}
	opts.Progress = func(e Event) {
		if e.Kind == Warning && r.opts.Progress != nil {
			r.opts.Progress(e)
		}
		seen.event(e)
	}
	opts.Steps.Explain = true
	if len(opts.Cache.From) == 0 { // else the configurations of images are read, and no more
		opts.Steps.Pull = "never"
	}
	common := newShared(opts)
	common.several, common.cache = r.several, r.cache
	look := r.again(opts, common)
	look.lookup, look.dry = true, true
	defer look.close()
	target, err := look.stages(ctx)
	if err != nil {
		return nil, err
	}
	read := look.readStages(target)
	var all []forecast.Step
	for _, s := range look.needed() {
		steps := look.ofStage(look.node(s), seen.of(look.node(s)), read[s])
		if steps[0].Prospect == forecast.Hit && !look.isHere(ctx, s) {
			steps[0].Prospect, steps[0].Text = forecast.Miss, "the image is not in the store: what is needed of it would be pulled"
		}
		all = append(all, steps...)
	}
	return all, nil
}

// isHere says that what a stage is based on is in the store. Of an image that is not, the configuration may have
// been read.
func (r *building) isHere(ctx context.Context, s *plan.Stage) bool {
	if s.Base != nil || s.Context != "" || s.Image == builder.Scratch {
		return true
	}
	_, err := r.b.Inspect(ctx, s.Image)
	return !errors.Is(err, builder.ErrImageNotFound)
}

// watch keeps the steps that were looked up, by their numbers.
type watch struct{ steps map[int]*watched }

type watched struct {
	done Event // StepFinished
	told *explain.Step
}

// event is called one at a time.
func (w *watch) event(e Event) {
	if e.Kind == StepStarted {
		w.steps[e.Step] = &watched{}
	}
	of := w.steps[e.Step]
	if of == nil {
		return
	}
	switch e.Kind {
	case StepExplained:
		of.told = e.Explained
	case StepFinished:
		of.done = e
	}
}

// of are the steps of a stage, whose name others may have too.
func (w *watch) of(n *node) (steps []*watched) {
	for _, step := range n.steps {
		steps = append(steps, w.steps[step])
	}
	return steps
}

// ofStage is what would become of the steps of a stage. With read its files are needed.
func (r *building) ofStage(n *node, tried []*watched, read bool) []forecast.Step {
	from := forecast.Step{Platform: r.progress.platform, Stage: n.Name, Instruction: n.Parsed.SourceCode, Line: n.Line, Prospect: forecast.Unknown}
	steps := []forecast.Step{from}
	for _, c := range n.all {
		steps = append(steps, forecast.Step{Platform: from.Platform, Stage: n.Name, Instruction: title(c), Line: c.Line, Prospect: forecast.Unknown})
	}
	after := ""
	for i := range steps {
		f := &steps[i]
		if i > 0 && !makesLayers(n.all[i-1].Command) {
			f.Prospect = forecast.Setting
			continue
		}
		switch {
		case i < len(tried):
			tried[i].fill(f, i == 0)
			if gone := len(n.all) - len(n.left); read && n.gone && i > gone && f.Prospect == forecast.Hit {
				f.Prospect, f.Explained = forecast.Miss, &explain.Step{Cause: explain.Removed, Since: f.Explained.Created}
			}
		case r.uncached(n.Name):
		case after != "":
			f.Text = "it depends on what this gives: " + after
		default:
			f.Text = r.waitsFor(n, i)
		}
		if r.uncached(n.Name) && i > 0 {
			f.Prospect, f.Text, f.Explained = forecast.Miss, "", &explain.Step{Cause: explain.NoCache}
		}
		if after == "" && f.Prospect != forecast.Hit {
			after = f.Instruction
		}
	}
	return steps
}

// fill fills in what looking a step up has come to.
func (w *watched) fill(f *forecast.Step, from bool) {
	f.Explained = w.told
	switch err := w.done.Err; {
	case err == nil && (w.done.Cached || from):
		f.Prospect = forecast.Hit
	case errors.Is(err, builder.ErrUncached) && w.told != nil:
		f.Prospect = forecast.Miss
	case errors.Is(err, builder.ErrImageNotFound) && from:
		f.Text = "the image is not in the store, and would be pulled"
	case errors.Is(err, errNotFetched):
		f.Text = errNotFetched.Error()
	case err != nil && !errors.Is(err, builder.ErrUncached):
		f.Text = err.Error()
	}
}

// waitsFor says of a step that was not looked up on which stage it depends.
func (r *building) waitsFor(n *node, i int) string {
	var on []*plan.Stage
	switch {
	case i > 0:
		on = n.all[i-1].From
	case n.Base != nil:
		on = []*plan.Stage{n.Base}
	default:
		on = n.After
	}
	for _, s := range on {
		switch of := r.node(s); {
		case s.Context != "" && r.in.places[s.Context].Remote != "" && of.missed:
			return errNotFetched.Error()
		case s.Index < 0 && of.missed:
			return fmt.Sprintf("the image %s is not in the store, and would be pulled", s.Image)
		case of.missed || i == 0:
			return fmt.Sprintf("it depends on what the stage %s gives", s.Name)
		}
	}
	return ""
}

func makesLayers(c instructions.Command) bool {
	switch c.(type) {
	case *instructions.RunCommand, *instructions.CopyCommand, *instructions.AddCommand, *instructions.WorkdirCommand:
		return true
	}
	return false
}
