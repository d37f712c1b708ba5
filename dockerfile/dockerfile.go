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
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/explain"
	"github.com/oakum-build/oakum/builder/index"
	"github.com/oakum-build/oakum/builder/push"
	"github.com/oakum-build/oakum/dockerfile/internal/load"
	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// Options is one build. Only a context or a Dockerfile must be given:
//
//	dockerfile.Options{
//		Context: dockerfile.Context{Dir: "."},
//		Image:   dockerfile.Image{Names: []string{"localhost/app"}},
//	}
type Options struct {
	// Context is what COPY and ADD read, and where the Dockerfile is.
	Context Context
	// File is the Dockerfile, where it is not that of the context.
	File File

	// Target is the stage to build, by name or index; "" is the last.
	Target string
	// Platforms, each OS/ARCH[/VARIANT] or "local", are what is built for: what base images are taken
	// for, and what the image says itself. Of several an image is built for each, side by side, and the
	// result is an index of them; what they have in common, as a stage on $BUILDPLATFORM, is done
	// once. None is this machine's, or what the base says. Of a command, the program must run here, if
	// need be by an emulator that binfmt_misc knows, or one of QEMU's in PATH.
	Platforms []string
	// From, when not "", is an image that the first stage starts from instead of its own.
	From string
	// BuildArgs sets ARG values. A nil value takes the variable from LookupEnv.
	BuildArgs map[string]*string
	// LookupEnv looks up the build arguments given without a value; nil finds none.
	LookupEnv func(string) (string, bool)
	// HostProxy lets RUN have the proxy variables that LookupEnv knows. They are not part
	// of the image, its history or the cache key.
	HostProxy bool

	// Image is what the image is to be called and to hold beside what the Dockerfile says.
	Image Image
	// Steps is how the instructions are done, and Run how the commands of RUN are.
	Steps Steps
	Run   RunOptions
	// Cache is where the layer cache is read from and written to beside the store.
	Cache Cache
	// Credentials is what servers of contexts and of ADD want to see, and what RUN may mount.
	Credentials Credentials

	// Open opens a Builder for Check, at most once, when a context must be fetched, or when
	// a base image may set a variable that is not defined otherwise. It stays the caller's.
	// With nil the former is an error that matches errors.ErrUnsupported, and the latter is
	// not known. Build does not need it.
	Open func(ctx context.Context) (*builder.Builder, error)
	// Progress receives events, one at a time; nil discards them.
	Progress func(Event)
}

// Context is where the files are that COPY and ADD read. At most one of Dir, URL and Stream
// is given; the zero value is no context.
type Context struct {
	// Dir is a directory of this machine.
	Dir string
	// URL is a context to fetch: a git repository (see builder.Git), or the http or https
	// URL of a tar archive, or else of a Dockerfile.
	URL string
	// Stream is a tar archive, plain or compressed by gzip, bzip2, xz or zstd, or else a
	// Dockerfile.
	Stream io.Reader
	// IgnoreFile is the path of the ignore file; "" is that of the Dockerfile, else the
	// context's.
	IgnoreFile string
	// Named are named contexts, which stand for images of FROM and COPY --from and for
	// stages of that name: a directory, docker-image://IMAGE, oci-layout://PATH[:TAG|@DIGEST],
	// a reference with a transport (see builder.Builder.Stage), a git repository, or the http or https URL of an archive or another file. One that is
	// called NAME::PLATFORM counts for that platform alone, before others.
	Named map[string]string
}

// File is the Dockerfile. The zero value is that of the context: Dockerfile, dockerfile or
// Containerfile, in this order.
type File struct {
	// Path is its path. It is looked up in the context when that is fetched or a stream, and
	// may be an http or https URL.
	Path string
	// Text is its text; Path then only names it in errors.
	Text io.Reader
	// More are further Dockerfiles, named as Path, which go on where the one before ends.
	More []string
}

// Image is what an image is to be called and to hold.
type Image struct {
	// Names are the names of the image, fully qualified or short.
	Names []string
	// Labels are set beside those of LABEL, and win. UnsetLabels are names of those that the image has not,
	// wherever they come from. With NoBaseLabels those of base images, and of stages that
	// are bases, are left out.
	Labels       map[string]string
	UnsetLabels  []string
	NoBaseLabels bool
	// Annotations are those of the image's manifest, and of an index, which must be OCI's.
	Annotations []index.Annotation
	// InheritAnnotations and UnsetAnnotations are as in builder.CommitOptions, and OmitHistory too.
	InheritAnnotations bool
	UnsetAnnotations   []string
	OmitHistory        bool
	// Squash is as in builder.CommitOptions.
	Squash string
	// Env, of entries NAME=VALUE, and UnsetEnv, of names, change the image's environment
	// when all is built.
	Env, UnsetEnv []string
	// Format is the image format, "oci" (the default) or "docker".
	Format string
	// Timestamp, when not nil, is the time of the image, its history and all files of its
	// new layers. Otherwise the build argument SOURCE_DATE_EPOCH is that of the image and
	// its history, and with RewriteTimes no file of a new layer is later.
	Timestamp    *time.Time
	RewriteTimes bool
	// Push, when not nil, is sent the image's layers while it is built, each as soon as it is there. Who
	// has made it finishes it, and closes it.
	Push *push.Push
}

// Steps is how the instructions are done.
type Steps struct {
	// Pull says when base images are pulled, and NoCache that every step is run: as in
	// builder.StageOptions.
	Pull    string
	NoCache bool
	// NoCacheStages are the names, in any case, of stages of which every step is run, as by
	// NoCache.
	NoCacheStages []string
	// CacheTTL is as in builder.StageOptions.
	CacheTTL time.Duration
	// CacheOnly fills the layer cache alone: no image is written, and Build gives the zero Image.
	CacheOnly bool
	// Explain has events of the kind StepExplained tell of each step why it was found in the
	// cache or not, and how large its layer is. It costs some: see builder.StageOptions.
	Explain bool
	// Jobs is how many stages build at once; 0 is as many as there are processors.
	Jobs int
	// OnError is called when the command of a RUN has failed, in the goroutine of its stage, and
	// before the build does; other stages go on meanwhile, and may fail too. It must return
	// when ctx ends, as it does with an error elsewhere in the build. nil is nothing.
	OnError func(ctx context.Context, failed Failed)
}

// Credentials is what servers of contexts and of ADD want to see, and what RUN may mount.
type Credentials struct {
	// Secrets are the secrets of the build, those of RUN --mount=type=secret, too; nil has none.
	Secrets Secrets
	// SSH are the agents of RUN --mount=type=ssh, by id. Git repositories over ssh are fetched
	// with the socket of the id "default", or else with that of SSH_AUTH_SOCK.
	SSH map[string]Agent
}

// EventKind says what an Event tells.
type EventKind string

// The kinds of events.
const (
	StepStarted  EventKind = "started"  // Step, Total, Stage, Instruction, Line
	StepOutput   EventKind = "output"   // the same, and Output
	StepFinished EventKind = "finished" // the same, and Cached, Duration, Err
	// StepExplained comes with Steps.Explain, with what StepStarted has, and Explained: before a step is done
	// that can make a layer, and once more when all is built, with Explained.Size, of those that have made one.
	StepExplained EventKind = "explained"
	Warning       EventKind = "warning" // Text, Line, Rule
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
	Platform    string // that the step is done for, where there are several
	Stage       string // the stage's name, or its index when it has none
	Instruction string // as written, continuation lines joined
	Line        int    // in the Dockerfile, from 1
	Output      []byte // of the command, standard output and error in the order in which they came
	Cached      bool
	Duration    time.Duration
	Text        string
	Rule        string // the build check that warns; "" for other warnings
	Err         error
	Explained   *explain.Step // why a step was found or not; its texts are foreign, too
}

// Build parses, plans and builds, and commits the target stage under opts.Names.
//
// A fault that has a place in the Dockerfile is an *Error, whatever its cause. When
// ctx ends, so does the build, with the context's error. No image is written then, unless it is a cache that
// could not be written (Cache.To).
func Build(ctx context.Context, b *builder.Builder, opts Options) (img builder.Image, err error) {
	if err := opts.validate(); err != nil {
		return builder.Image{}, err
	}
	opts.remember()
	in, err := loadAll(ctx, func(context.Context) (*builder.Builder, error) { return b, nil }, opts)
	if err != nil {
		return builder.Image{}, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	common := newShared(opts)
	if common.cache, err = opts.openCache(ctx, b); err != nil {
		return builder.Image{}, err
	}
	defer func() { err = errors.Join(err, common.cache.Close()) }()
	platforms := opts.platforms()
	if len(platforms) > 1 || opts.multiPlatform() {
		return buildIndex(ctx, b, opts, in, platforms, common)
	}
	r, err := newBuilding(ctx, b, opts, in, platforms[0], common)
	if err != nil {
		return builder.Image{}, err
	}
	img, r, err = r.build(ctx)
	if err == nil {
		err = opts.Cache.write(ctx, common.cache)
	}
	r.close()
	return img, err
}

// attempts is how often a build begins anew when what it was on has gone.
const attempts = 3

// build builds and commits the image. The stages of the building that it gives are to be closed then.
func (r *building) build(ctx context.Context) (builder.Image, *building, error) {
	img, err := r.image(ctx, true)
	// What was found has changed since, or another program has removed it, or a cache elsewhere has not given
	// it, of which none is asked a second time.
	for tries := attempts + len(r.opts.Cache.From); errors.Is(err, builder.ErrUncached) && tries > 0; tries-- {
		r.close()
		r = r.again(r.opts, r.shared)
		img, err = r.image(ctx, false)
	}
	return img, r, err
}

// image builds the image. With leave, stages whose files nothing reads
// are left alone where the store was pruned.
func (r *building) image(ctx context.Context, leave bool) (builder.Image, error) {
	if leave {
		var err error
		if r.unread, err = r.findUnread(ctx); err != nil {
			return builder.Image{}, err
		}
	}
	target, err := r.stages(ctx)
	if err != nil {
		return builder.Image{}, err
	}
	img, err := r.commit(ctx, target)
	if err == nil {
		r.measure(ctx)
	}
	return img, err
}

// validate checks what can be checked without reading a file.
func (o Options) validate() error {
	if err := o.validateContext(); err != nil {
		return err
	}
	for _, platform := range o.Platforms {
		if _, err := plan.ParsePlatform(platform); err != nil {
			return fmt.Errorf("platform %s: %w: %w", platform, builder.ErrInvalid, err)
		}
	}
	if err := o.Run.Check(); err != nil {
		return err
	}
	if err := o.Cache.validate(); err != nil {
		return err
	}
	if o.Steps.Jobs < 0 {
		return fmt.Errorf("%d jobs: the number must not be negative", o.Steps.Jobs)
	}
	if o.Image.Format != "" && o.Image.Format != "oci" && o.Image.Format != "docker" {
		return fmt.Errorf("image format %q: it is oci or docker", o.Image.Format)
	}
	if !slices.Contains([]string{"", "new", "all"}, o.Image.Squash) {
		return fmt.Errorf("squash %q: it is new or all", o.Image.Squash)
	}
	for _, entry := range o.Image.Env {
		if name, _, found := strings.Cut(entry, "="); !found || name == "" {
			return fmt.Errorf("environment %q: it is not NAME=VALUE", entry)
		}
	}
	if err := (builder.Config{Env: o.Image.Env, Labels: o.Image.Labels}).Validate(); err != nil {
		return err
	}
	if err := o.validateAnnotations(); err != nil {
		return err
	}
	if o.Steps.CacheOnly && len(o.Image.Names) > 0 {
		return errors.New("names are given, and no image is to be written")
	}
	for _, name := range o.Image.Names {
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

// validateContext checks how the context and the Dockerfile are given.
func (o Options) validateContext() error {
	contexts := 0
	for _, given := range []bool{o.Context.Dir != "", o.Context.URL != "", o.Context.Stream != nil} {
		if given {
			contexts++
		}
	}
	switch {
	case contexts == 0 && o.File.Path == "" && o.File.Text == nil:
		return errors.New("neither a context nor a Dockerfile is given")
	case contexts > 1:
		return errors.New("several contexts are given")
	}
	return load.Context(o.Context).Validate()
}

// jobs is how many stages build at once.
func (o Options) jobs() int {
	if o.Steps.Jobs == 0 {
		return runtime.GOMAXPROCS(0)
	}
	return o.Steps.Jobs
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
