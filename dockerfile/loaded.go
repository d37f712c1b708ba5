package dockerfile

import (
	"context"
	"errors"
	"time"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/dockerfile/internal/lint"
	"github.com/oakum-build/oakum/dockerfile/internal/load"
	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// loaded is what a build or a check is made of: loaded and parsed once for all that is done
// with it.
type loaded struct {
	*load.Loaded
	loader load.Loader
	places map[string]load.Place // of the named contexts

	file      *plan.File // nil with an error of parsing
	fileErr   error
	checks    *lint.Checks
	checksErr error // of their settings
}

// loadAll loads and parses what the options name.
func loadAll(ctx context.Context, b func(context.Context) (*builder.Builder, error), opts Options) (*loaded, error) {
	places, err := load.Places(opts.Context.Named)
	if err != nil {
		return nil, err
	}
	in := &loaded{loader: opts.loader(b), places: places}
	in.Loaded, err = in.loader.Load(ctx, load.Context(opts.Context), load.File(opts.File))
	var f *plan.Fault
	if errors.As(err, &f) {
		err = &Error{Err: f.Err, Hint: f.Hint}
	}
	if err != nil {
		return nil, err
	}
	in.parse(opts.args())
	return in, nil
}

// loader loads with the credentials of the options.
func (o Options) loader(b func(context.Context) (*builder.Builder, error)) load.Loader {
	return load.Loader{Builder: b, Args: o.args(), Remote: func(ctx context.Context, ref string) (builder.Source, error) {
		src, _, err := o.remote(ctx, ref)
		return src, err
	}}
}

// parse parses the text, once for all that is done with it.
func (l *loaded) parse(args map[string]string) {
	l.checks, l.checksErr = lint.New(l.Text, args)
	l.file, l.fileErr = plan.Parse(l.Text, l.checks.Linter())
}

// plan resolves the file. With an error there is a plan all the same when the file could be
// parsed, for checks.
func (l *loaded) plan(opts Options, platform string, epochOf func(plan.EpochSource) (*time.Time, error)) (*plan.Plan, error) {
	if l.fileErr != nil {
		return nil, l.locate(l.fileErr, 0, 0, "")
	}
	p, err := l.file.Plan(l.planning(opts, platform, epochOf))
	return p, l.locate(err, 0, 0, "")
}

// planning are the options of planning.
func (l *loaded) planning(o Options, platform string, epochOf func(plan.EpochSource) (*time.Time, error)) plan.Options {
	p := plan.Options{
		Target: o.Target, Platform: platform, Args: o.args(), From: o.From, NoContext: l.Context.Missing(),
		Contexts: map[string]string{}, HostEnv: map[string]string{}, EpochOf: epochOf,
		Allow: o.Run.allowed(), Mounts: o.Run.Mounts,
	}
	for name, place := range l.places {
		p.Contexts[name] = place.Image
	}
	if !o.HostProxy || o.LookupEnv == nil {
		return p
	}
	for _, name := range plan.Proxies() {
		if value, ok := o.LookupEnv(name); ok {
			p.HostEnv[name] = value
		}
	}
	return p
}

// below is where the archives and layouts that a Dockerfile names are: in its context, and
// nowhere without one.
func (l *loaded) below() *builder.Source {
	all := l.Context.All()
	return &all
}
