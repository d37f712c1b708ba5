package dockerfile

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// defaultPath is the PATH of images whose base sets none, as BuildKit writes it.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// worker builds one node.
type worker struct {
	*run
	*node
	base    *node // of the stage that it is based on; nil for an image
	hasSlot bool
	cmdSet  bool // by a CMD of this stage, which a later ENTRYPOINT leaves alone
}

// build builds the stage, once there is a slot for it.
func (w *worker) build(ctx context.Context, slot <-chan struct{}) error {
	defer w.leave()
	if err := w.enter(ctx, slot); err != nil {
		return err
	}
	err := w.instructions(ctx)
	if err != nil && w.lookup && ctx.Err() == nil {
		w.missed, err = true, nil
	}
	if err == nil {
		close(w.done)
	}
	return err
}

func (w *worker) instructions(ctx context.Context) error {
	w.left = w.Commands
	triggers, err := w.from(ctx)
	if err != nil {
		return err
	}
	commands := slices.Concat(triggers, w.Commands)
	w.left = commands
	for i, c := range commands {
		if err := w.step(ctx, c); err != nil {
			return err
		}
		if w.gone = w.gone || w.fs.Last().Removed; !w.gone {
			w.left = commands[i+1:]
		}
	}
	return nil
}

// enter waits for a slot.
func (w *worker) enter(ctx context.Context, slot <-chan struct{}) error {
	select {
	case <-slot:
		w.hasSlot = true
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// leave gives the slot back, if there is one.
func (w *worker) leave() {
	if w.hasSlot {
		w.slots.leave()
		w.hasSlot = false
	}
}

// await waits until another stage is built, without keeping a slot from it.
func (w *worker) await(ctx context.Context, other *node) error {
	select {
	case <-other.done:
		return ctx.Err()
	default:
	}
	slot := w.slots.enter(other.done)
	w.leave()
	return w.enter(ctx, slot)
}

// from does the FROM, and gives the triggers that the base image holds.
func (w *worker) from(ctx context.Context) ([]plan.Command, error) {
	opts := w.stageOptions(w.Name)
	opts.Platform = w.Platform
	if w.Index < 0 {
		return nil, w.open(ctx, opts)
	}
	opts.Lookup = w.lookup || w.unread[w.Index]
	if w.base != nil {
		w.gone = w.base.gone
	}
	if w.lookup && (len(w.After) > 0 || w.base != nil && w.base.missed) {
		return nil, builder.ErrUncached
	}
	for _, before := range w.After {
		if err := w.await(ctx, w.need(ctx, before)); err != nil {
			return nil, err
		}
	}
	s := w.progress.start(w.Name, w.Source, w.Line)
	err := w.open(ctx, opts)
	s.finish(false, err)
	if err != nil {
		return nil, err
	}
	config := w.fs.Config()
	var baseScope *plan.Scope
	if w.base != nil {
		baseScope, w.author = w.base.scope, w.base.author
	} else {
		w.original = baseOf(w.fs, config)
	}
	w.fs.Configure(func(c *builder.Config) { inherit(c, !w.fromImage()) })
	w.scope = w.plan.Scope(baseScope, w.fs.Config().Env)
	if w.base != nil || len(config.OnBuild) == 0 {
		return nil, nil // a stage's own triggers are in the plan
	}
	triggers, err := w.plan.Triggers(w.Stage, config.OnBuild)
	if err != nil {
		return nil, w.src.locate(err, w.Line, w.End, "")
	}
	w.progress.grow(len(triggers))
	for _, c := range triggers {
		if c.From != nil {
			w.need(ctx, c.From)
		}
	}
	return triggers, nil
}

// fromImage says that the stage starts with the configuration of an image.
func (w *worker) fromImage() bool {
	if w.Context != "" {
		return strings.HasPrefix(w.opts.Contexts[w.Context], ociPrefix)
	}
	return w.Image != builder.Scratch
}

// inherit makes the configuration that a stage starts with of its base's, as
// BuildKit does.
func inherit(c *builder.Config, scratch bool) {
	c.OnBuild = nil
	if _, ok := plan.Lookup(c.Env, "PATH"); !ok {
		c.Env = plan.SetEnv(c.Env, "PATH", defaultPath)
	}
	if scratch {
		c.WorkingDir = "/"
	}
}

// open starts the stage's filesystem.
func (w *worker) open(ctx context.Context, opts builder.StageOptions) error {
	var err error
	if w.base != nil {
		w.fs, err = w.base.fs.Fork(ctx, opts)
		return w.src.locate(err, w.Line, w.End, "")
	}
	if w.Context != "" {
		err = w.openContext(ctx, opts)
		return w.src.locate(err, w.Line, w.End, "")
	}
	if !w.Given {
		opts.Below = w.src.below(w.opts)
	}
	w.fs, err = w.lib.Stage(ctx, w.Image, opts)
	if err == nil {
		return nil
	}
	return w.src.locate(err, w.Line, w.End, w.plan.ImageHint(w.Stage))
}

// step does one instruction.
func (w *worker) step(ctx context.Context, c plan.Command) error {
	var from origin
	if c.From != nil {
		other := w.need(ctx, c.From)
		if err := w.await(ctx, other); err != nil {
			return err
		}
		if other.missed {
			return builder.ErrUncached
		}
		from = other.files()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s := w.progress.start(w.Name, title(c), c.Line)
	layer, err := w.dispatch(ctx, c, from, s)
	if err != nil && c.Trigger {
		err = fmt.Errorf("ONBUILD trigger %q of the base: %w", c.Source, err)
	}
	if err == nil && layer {
		w.wrote(w.fs.Last().Layer, c)
	}
	err = w.src.locate(err, c.Line, c.End, w.stepHint(err, c))
	s.finish(err == nil && layer && w.fs.Last().Cached, err)
	return err
}

// title is how events call an instruction.
func title(c plan.Command) string {
	if c.Trigger {
		return "ONBUILD " + plan.Redact(c.Source)
	}
	return plan.Redact(c.Source)
}
