// Package dockerfile compiles a Dockerfile into calls on package builder.
//
// The language is BuildKit's: its parser reads the file, and the Dockerfile
// reference with BuildKit's behaviour settles what an instruction means. Only the
// stages that the target needs are built; stages that do not depend on each other
// are built side by side. What is not done yet is an error that matches
// errors.ErrUnsupported and names the feature and the line, given before anything
// is pulled or built.
package dockerfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"

	"github.com/distribution/reference"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// Options is one build. Only a context or a Dockerfile must be given.
type Options struct {
	// ContextDir is the directory that COPY and ADD read; "" is no context.
	ContextDir string
	// ContextURL is a context to fetch, instead of ContextDir: a git repository (see
	// builder.Git), or the http or https URL of a tar archive, or else of a Dockerfile.
	ContextURL string
	// Context is a context as a stream, instead of ContextDir: a tar archive, plain or
	// compressed by gzip, bzip2, xz or zstd, or else a Dockerfile.
	Context io.Reader
	// Contexts are named contexts, which stand for images of FROM and COPY --from and for
	// stages of that name: a directory, docker-image://IMAGE, oci-layout://PATH[:TAG|@DIGEST],
	// a git repository, or the http or https URL of an archive or another file. One that is
	// called NAME::PLATFORM counts for that platform alone, before others.
	Contexts map[string]string
	// File is the Dockerfile's path; "" is Dockerfile, dockerfile or Containerfile in
	// the context, in this order. It is looked up in the context when that is fetched
	// or a stream, and may be an http or https URL.
	File string
	// Dockerfile is the text of the Dockerfile; File then only names it in errors.
	Dockerfile io.Reader
	// MoreFiles are further Dockerfiles, named as File, which go on where the one before
	// ends.
	MoreFiles []string
	// IgnoreFile is the path of the ignore file; "" is that of the Dockerfile, else the
	// context's.
	IgnoreFile string
	// From, when not "", is an image that the first stage starts from instead of its own.
	From string
	// Target is the stage to build, by name or index; "" is the last.
	Target string
	// Platform, OS/ARCH[/VARIANT] or "local", is what the image is built for: what its base
	// images are taken for, and what it says itself. "" is this machine's, or what the base
	// says. Of a command, the program must run here, if need be by an emulator that
	// binfmt_misc knows.
	Platform string
	// BuildArgs sets ARG values. A nil value takes the variable from LookupEnv.
	BuildArgs map[string]*string
	// LookupEnv looks up the build arguments given without a value; nil finds none.
	LookupEnv func(string) (string, bool)
	// Secrets are the secrets of the build; nil has none.
	Secrets Secrets
	// SSH are the sockets of ssh agents, by id. Git repositories over ssh are fetched with
	// that of the id "default", or else with that of SSH_AUTH_SOCK.
	SSH map[string]string
	// HostProxy lets RUN have the proxy variables that LookupEnv knows. They are not part
	// of the image, its history or the cache key.
	HostProxy bool
	// Names are the names of the image, fully qualified or short.
	Names  []string
	Labels map[string]string
	// Annotations are those of the image's manifest, which must be OCI's.
	Annotations map[string]string
	// Env, of entries NAME=VALUE, and UnsetEnv, of names, change the image's environment
	// when all is built.
	Env, UnsetEnv []string
	// Timestamp, when not nil, is the time of the image, its history and all files of its
	// new layers. Otherwise the build argument SOURCE_DATE_EPOCH is that of the image and
	// its history, and with RewriteTimes no file of a new layer is later.
	Timestamp    *time.Time
	RewriteTimes bool
	// Pull and NoCache are those of builder.StageOptions.
	Pull    builder.PullPolicy
	NoCache bool
	// NoCacheStages are the names, in any case, of stages of which every step is run, as by
	// NoCache.
	NoCacheStages []string
	// Jobs is how many stages build at once; 0 is as many as there are processors.
	Jobs int
	// Format is the image format, "oci" (the default) or "docker".
	Format string
	// Open opens a Builder for Check, at most once, when a context must be fetched, or when
	// a base image may set a variable that is not defined otherwise. It stays the caller's.
	// With nil the former is an error that matches errors.ErrUnsupported, and the latter is
	// not known. Build does not need it.
	Open func(ctx context.Context) (*builder.Builder, error)
	// Progress receives events, one at a time; nil discards them.
	Progress func(Event)
}

// EventKind says what an Event tells.
type EventKind string

// The kinds of events.
const (
	StepStarted  EventKind = "started"  // Step, Total, Stage, Instruction, Line
	StepOutput   EventKind = "output"   // the same, and Output
	StepFinished EventKind = "finished" // the same, and Cached, Duration, Err
	Warning      EventKind = "warning"  // Text, Line, Rule
)

// Event is one moment of a build. Its texts and Output are as foreign as the Dockerfile,
// the images and the commands are; package builder/display makes them fit for a terminal.
type Event struct {
	Kind EventKind
	Time time.Time
	// Step counts from 1, in the order in which steps start, over all stages that are
	// built; FROM is a step. Total grows when a base image turns out to have ONBUILD
	// triggers.
	Step, Total int
	Stage       string // the stage's name, or its index when it has none
	Instruction string // as written, continuation lines joined
	Line        int    // in the Dockerfile, from 1
	Output      []byte // of the command, standard output and error in the order in which they came
	Cached      bool
	Duration    time.Duration
	Text        string
	Rule        string // the build check that warns; "" for other warnings
	Err         error
}

// Build parses, plans and builds, and commits the target stage under opts.Names.
//
// A fault that has a place in the Dockerfile is an *Error, whatever its cause. When
// ctx ends, so does the build, with the context's error. No image is written then.
func Build(ctx context.Context, b *builder.Builder, opts Options) (builder.Image, error) {
	return build(ctx, library{b}, opts)
}

// build is Build over what a build needs of package builder.
func build(ctx context.Context, lib backend, opts Options) (img builder.Image, err error) {
	if err := opts.validate(); err != nil {
		return builder.Image{}, err
	}
	src, err := loadSource(ctx, lib, opts)
	if err != nil {
		return builder.Image{}, err
	}
	defer func() { err = errors.Join(err, src.close()) }()
	img, err = buildFrom(ctx, lib, opts, src, true)
	if errors.Is(err, builder.ErrUncached) {
		// What was found has changed since, or another program has removed it.
		img, err = buildFrom(ctx, lib, opts, src, false)
	}
	return img, err
}

// buildFrom builds what was loaded. With leave, stages whose files nothing reads are left
// alone where the store was pruned.
func buildFrom(ctx context.Context, lib backend, opts Options, src source, leave bool) (builder.Image, error) {
	r, err := newRun(ctx, lib, opts, src)
	if err != nil {
		return builder.Image{}, err
	}
	defer r.close()
	if leave {
		if r.unread, err = r.findUnread(ctx); err != nil {
			return builder.Image{}, err
		}
	}
	target, err := r.stages(ctx)
	if err != nil {
		return builder.Image{}, err
	}
	return r.commit(ctx, target)
}

// validate checks what can be checked without reading a file.
func (o Options) validate() error {
	if err := errors.Join(o.validateContext(), o.validateContexts()); err != nil {
		return err
	}
	if _, err := plan.ParsePlatform(o.Platform); err != nil {
		return fmt.Errorf("platform %s: %w: %w", o.Platform, builder.ErrInvalid, err)
	}
	if o.Jobs < 0 {
		return fmt.Errorf("%d jobs: the number must not be negative", o.Jobs)
	}
	if o.Format != "" && o.Format != "oci" && o.Format != "docker" {
		return fmt.Errorf("image format %q: it is oci or docker", o.Format)
	}
	for _, entry := range o.Env {
		if name, _, found := strings.Cut(entry, "="); !found || name == "" {
			return fmt.Errorf("environment %q: it is not NAME=VALUE", entry)
		}
	}
	if err := (builder.Config{Env: o.Env, Labels: o.Labels}).Validate(); err != nil {
		return err
	}
	if err := (builder.Config{Labels: o.Annotations}).Validate(); err != nil {
		return fmt.Errorf("annotations: %w", err)
	}
	for _, name := range o.Names {
		named, err := reference.ParseNormalizedNamed(name)
		if err == nil {
			if _, digested := named.(reference.Digested); digested {
				err = errors.New("an image cannot be given a name with a digest")
			}
		}
		if err != nil {
			return fmt.Errorf("image name %q: %w: %w", name, builder.ErrReference, err)
		}
	}
	return nil
}

// plan are the options of planning.
func (o Options) plan(src source) plan.Options {
	noContext := o.ContextDir == "" && src.context == nil
	p := plan.Options{Target: o.Target, Platform: o.Platform, Args: o.args(), From: o.From, NoContext: noContext, Contexts: o.contextImages(), HostEnv: map[string]string{}}
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

// jobs is how many stages build at once.
func (o Options) jobs() int {
	if o.Jobs == 0 {
		return runtime.GOMAXPROCS(0)
	}
	return o.Jobs
}

// args are the build arguments that have a value.
func (o Options) args() map[string]string {
	args := map[string]string{}
	for name, value := range o.BuildArgs {
		if value != nil {
			args[name] = *value
		} else if o.LookupEnv != nil {
			if v, ok := o.LookupEnv(name); ok {
				args[name] = v
			}
		}
	}
	return args
}
