//go:build linux

package input

import (
	"context"
	"os"

	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/builder/internal/step"
	"github.com/oakum-build/oakum/builder/internal/workspace"
	"github.com/oakum-build/oakum/storage"
)

// layer is the files of a layer and of those below it: of a stage, of an image, or of what was
// fetched. They never change, so a digest that was learnt once is known from then on, and nothing
// need be mounted.
type layer struct {
	env   Env
	layer *storage.Layer
	// claim keeps the layer from being removed while its files are read, and gives it.
	claim func(context.Context) (*storage.Layer, error)
	use   *storage.Use // that of a layer which no stage has in use; nil with a stage
	what  step.ReadKey // is read of it
	view  workspace.View
}

func findStage(env Env, src *Source) (*layer, error) {
	s, err := env.Layers.Stage(src.Stage)
	if err != nil {
		return nil, err
	}
	return newLayer(env, src, s.Top(), s.Claim, nil), nil
}

func findImage(ctx context.Context, env Env, src *Source) (*layer, error) {
	l, err := env.Layers.Image(ctx, *src.Image)
	if err != nil {
		return nil, err
	}
	return heldLayer(env, src, l), nil
}

// heldLayer is a layer that is in use by the input alone.
func heldLayer(env Env, src *Source, l *storage.Layer) *layer {
	use := env.Store.Use(l)
	return newLayer(env, src, l, func(context.Context) (*storage.Layer, error) { return l, use.Claim() }, use)
}

func newLayer(env Env, src *Source, l *storage.Layer, claim func(context.Context) (*storage.Layer, error), use *storage.Use) *layer {
	return &layer{env: env, layer: l, claim: claim, use: use, what: readKey(src)}
}

func (l *layer) open(ctx context.Context) (*os.File, error) {
	claimed, err := l.claim(ctx)
	if err != nil {
		return nil, err
	}
	l.layer = claimed // the stage may have gone on since it was found
	if l.view, err = l.env.Layers.View(claimed); err != nil {
		return nil, err
	}
	return l.view.Root(), nil
}

// fill leaves sockets out: in a layer they are what a command has left behind.
func (l *layer) fill(tree *filecopy.Tree) error {
	tree.Owners = l.view.Owners()
	return nil
}

func (l *layer) known() string { return l.env.Layers.Known(l.layer, l.what) }

func (l *layer) learn(digest string) error {
	if l.view == nil {
		return nil // it was known, or never opened
	}
	if err := l.view.Intact(); err != nil {
		return err
	}
	if digest != "" {
		l.env.Layers.Learn(l.layer, l.what, digest)
	}
	return nil
}

func (l *layer) close() error {
	var err error
	if l.view != nil {
		err = l.view.Close()
	}
	if l.use != nil {
		l.use.Close()
	}
	return err
}
