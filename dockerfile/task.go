package dockerfile

import (
	"context"
	"fmt"
	"slices"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/explain"
	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// task is the building of one stage, in a goroutine of its own: what is known of it while it
// is built. What others may see is in its node.
type task struct {
	*building
	*node
	base    *node // of the stage that it is based on; nil for an image
	hasSlot bool
	cmdSet  bool // by a CMD of this stage, which a later ENTRYPOINT leaves alone
	telling
}

// build builds the stage, once there is a slot for it.
func (t *task) build(ctx context.Context, slot <-chan struct{}) error {
	defer t.leave()
	if err := t.enter(ctx, slot); err != nil {
		return err
	}
	err := t.instructions(ctx)
	if err != nil && t.lookup && ctx.Err() == nil {
		t.missed, err = true, nil
	}
	if err == nil {
		close(t.done)
	}
	return err
}

func (t *task) instructions(ctx context.Context) error {
	triggers, err := t.from(ctx)
	if err != nil {
		return err
	}
	commands := slices.Concat(triggers, t.Commands)
	t.left, t.all = commands, commands
	for i, c := range commands {
		did, err := t.step(ctx, c)
		if err != nil {
			return err
		}
		if t.gone = t.gone || did.Removed; !t.gone {
			t.left = commands[i+1:]
		}
	}
	return nil
}

// enter waits for a slot.
func (t *task) enter(ctx context.Context, slot <-chan struct{}) error {
	select {
	case <-slot:
		t.hasSlot = true
		return ctx.Err()
	case <-ctx.Done():
		t.slots.withdraw(slot)
		return ctx.Err()
	}
}

// leave gives the slot back, if there is one.
func (t *task) leave() {
	if t.hasSlot {
		t.slots.leave()
		t.hasSlot = false
	}
}

// await waits until another stage is built, without keeping a slot from it.
func (t *task) await(ctx context.Context, other *node) error {
	select {
	case <-other.done:
		return ctx.Err()
	default:
	}
	slot := t.slots.enter(other.done)
	t.leave()
	return t.enter(ctx, slot)
}

// from does the FROM, and gives the triggers that the base image holds.
func (t *task) from(ctx context.Context) ([]plan.Command, error) {
	opts := t.stageOptions(t.Name)
	opts.Platform = t.Platform
	if t.Index < 0 {
		opts.Lookup = t.lookup || t.unread[t.Stage] // which pulls no layers
		return nil, t.open(ctx, opts)
	}
	opts.Lookup = t.lookup || t.unread[t.Stage]
	if t.ofImage(t.Stage) && !opts.Lookup && t.opts.Image.Squash == "" {
		opts.Push = t.opts.Image.Push
	}
	opts.Explain = t.explainer()
	if t.base != nil {
		t.gone, t.last = t.base.gone, t.base.last
	}
	if t.lookup && (len(t.After) > 0 || t.base != nil && t.base.missed) {
		return nil, builder.ErrUncached
	}
	for _, before := range t.After {
		if err := t.await(ctx, t.need(ctx, before)); err != nil {
			return nil, err
		}
	}
	s := t.begin(t.Parsed.SourceCode, t.Line)
	t.doing, t.told = s, explain.Step{}
	err := t.open(ctx, opts)
	s.finish(false, err)
	if err != nil {
		return nil, err
	}
	config := t.fs.Config()
	var baseScope *plan.Scope
	if t.base != nil {
		baseScope, t.author = t.base.scope, t.base.author
	} else {
		t.original = baseOf(t.fs, config)
	}
	t.fs.Configure("", func(c *builder.Config) {
		inherit(c, !t.fromImage())
		if t.opts.Image.NoBaseLabels {
			c.Labels = nil
		}
	})
	t.scope = t.plan.Scope(baseScope, t.fs.Config().Env)
	if t.base != nil || len(config.OnBuild) == 0 {
		return nil, nil // a stage's own triggers are in the plan
	}
	triggers, err := t.plan.Triggers(t.Stage, config.OnBuild)
	if err != nil {
		return nil, t.in.locate(err, t.Line, t.End, "")
	}
	t.progress.grow(len(triggers))
	for _, c := range triggers {
		for _, from := range c.From {
			t.need(ctx, from)
		}
	}
	return triggers, nil
}

// fromImage says that the stage starts with the configuration of an image.
func (t *task) fromImage() bool {
	if t.Context != "" {
		return t.in.places[t.Context].HasConfig()
	}
	return t.Image != builder.Scratch
}

// inherit makes the configuration that a stage starts with of its base's, as
// BuildKit does.
func inherit(c *builder.Config, scratch bool) {
	c.OnBuild = nil
	if _, ok := plan.Lookup(c.Env, "PATH"); !ok {
		c.Env = plan.SetEnv(c.Env, "PATH", plan.DefaultPath)
	}
	if scratch {
		c.WorkingDir = "/"
	}
}

// open starts the stage's filesystem.
func (t *task) open(ctx context.Context, opts builder.StageOptions) error {
	var err error
	if t.base != nil {
		t.fs, err = t.base.fs.Fork(ctx, opts)
		return t.in.locate(err, t.Line, t.End, "")
	}
	if t.Context != "" {
		err = t.openContext(ctx, opts)
		return t.in.locate(err, t.Line, t.End, "")
	}
	if !t.Given {
		opts.Below = t.in.below()
	}
	t.fs, err = t.b.Stage(ctx, t.Image, opts)
	if err == nil {
		return nil
	}
	return t.in.locate(err, t.Line, t.End, t.plan.ImageHint(t.Stage))
}

// openContext opens a named context that is no image of a registry. A directory that
// is only copied from stays where it is; else the files become those of a stage.
func (t *task) openContext(ctx context.Context, opts builder.StageOptions) (err error) {
	place := t.in.places[t.Context]
	if place.Layout != "" {
		t.fs, err = t.b.Stage(ctx, place.Layout, opts)
		return err
	}
	if t.dry && place.Remote != "" {
		return errNotFetched
	}
	tree, err := t.in.loader.Named(ctx, place)
	if err != nil {
		return err
	}
	if t.Index < 0 && !tree.Fetched() {
		t.local = tree
		return nil
	}
	var did builder.Step
	if t.fs, did, err = t.in.loader.Stage(ctx, tree, opts); err == nil && t.Index >= 0 {
		t.stepped(plan.Redact(t.Parsed.SourceCode), did)
	}
	return err
}

// command is an instruction that is being done.
type command struct {
	plan.Command
	expanded instructions.Command // with the values of its variables
	from     []builder.Source     // the files of Command.From
	step     *step
}

// begin begins a step of the stage.
func (t *task) begin(instruction string, line int) *step {
	s := t.progress.start(t.Name, instruction, line)
	t.steps = append(t.steps, s.event.Step)
	return s
}

// step does one instruction.
func (t *task) step(ctx context.Context, c plan.Command) (builder.Step, error) {
	doing := command{Command: c}
	for _, from := range c.From {
		other := t.need(ctx, from)
		if err := t.await(ctx, other); err != nil {
			return builder.Step{}, err
		}
		if other.missed {
			return builder.Step{}, builder.ErrUncached
		}
		doing.from = append(doing.from, other.files())
	}
	if err := ctx.Err(); err != nil {
		return builder.Step{}, err
	}
	doing.step = t.begin(title(c), c.Line)
	t.doing, t.told = doing.step, explain.Step{}
	var did builder.Step
	var err error
	if doing.expanded, err = t.scope.Expand(c); err == nil {
		did, err = t.dispatch(ctx, doing)
	}
	if err != nil && c.Trigger {
		err = fmt.Errorf("ONBUILD trigger %q of the base: %w", plan.Redact(c.Source), err)
	}
	if err == nil && did.Layer != "" {
		t.wrote(did.Layer, c)
	}
	if err == nil && makesLayers(c.Command) {
		t.stepped(title(c), did)
	}
	err = t.in.locate(err, c.Line, c.End, t.stepHint(err, doing))
	doing.step.finish(err == nil && did.Cached, err)
	return did, err
}

// title is how events call an instruction.
func title(c plan.Command) string {
	if c.Trigger {
		return "ONBUILD " + plan.Redact(c.Source)
	}
	return plan.Redact(c.Source)
}
