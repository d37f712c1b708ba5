package builder

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/builder/cache"
	"github.com/oakum-build/oakum/builder/event"
	"github.com/oakum-build/oakum/builder/internal/input"
	"github.com/oakum-build/oakum/builder/internal/protocol"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/storage/platform"
)

// Stage is a filesystem being built, with its configuration. It belongs to one
// goroutine at a time; once no step runs on it, many may use Path and Fork.
type Stage struct {
	b     *Builder
	id    string
	name  string // StageOptions.Name and Build, for events
	build string
	image baseImage
	// annotations are those of the base's manifest.
	annotations map[string]string
	config      Config
	history     []imgspec.History
	closed      bool
	// noCache is StageOptions.NoCache, under which Run need not ask before it makes pipes.
	noCache bool
	explaining
}

// baseImage is what an image configuration says beside its config.
type baseImage struct {
	Author       string            `json:"author,omitempty"`
	Architecture string            `json:"architecture"`
	Variant      string            `json:"variant,omitempty"`
	OS           string            `json:"os"`
	OSVersion    string            `json:"os.version,omitempty"`
	OSFeatures   []string          `json:"os.features,omitempty"`
	Config       Config            `json:"config"`
	History      []imgspec.History `json:"history,omitempty"`
}

// Stage starts a filesystem and a configuration from an image of the store or a
// registry, from one with a transport as in Pull, or from Scratch. What an archive or layout
// calls its image is no name of it here. The stage must be closed.
func (b *Builder) Stage(ctx context.Context, from string, opts StageOptions) (*Stage, error) {
	s := b.newStage(opts)
	open := opts.open(s.id)
	wanted, err := readPlatform(opts.Platform)
	if err == nil && from != Scratch {
		open.From, err = b.image(from, opts)
	}
	if err != nil {
		return nil, err
	}
	opened, err := callFor(ctx, s, open)
	if err != nil {
		return nil, err
	}
	s.annotations = opened.Annotations
	if len(opened.Config) > 0 {
		if err := json.Unmarshal(opened.Config, &s.image); err != nil {
			return nil, fmt.Errorf("image configuration of %s: %w", from, err)
		}
	}
	if s.image.OS == "" || s.image.Architecture == "" {
		s.image.setPlatform(cmp.Or(wanted, platform.Host()))
	}
	s.config, s.history = s.image.Config, s.image.History
	return s, nil
}

// image names an image to the worker. Of the options it takes Below, Pull and Platform.
func (b *Builder) image(ref string, opts StageOptions) (*input.Image, error) {
	if ref == "" {
		return nil, fmt.Errorf("%w: it is empty", ErrReference)
	}
	wanted, err := readPlatform(opts.Platform)
	if err != nil {
		return nil, err
	}
	image := &input.Image{Ref: ref, Pull: string(opts.Pull), Platform: wanted, Access: b.opts.Registry.access()}
	if opts.Below != nil {
		image.Below, err = b.below(*opts.Below)
	}
	return image, err
}

// below names StageOptions.Below to the worker. The zero Source names nothing.
func (b *Builder) below(src Source) (named *input.Source, err error) {
	named = &input.Source{}
	switch {
	case src.err != nil:
		return nil, src.err
	case !reflect.DeepEqual(src.taken, *named):
		return nil, fmt.Errorf("%w: Below takes a Dir or the Path of a stage as it is, without a choice of files", ErrInvalid)
	case src.kind == "":
	case src.kind == dirSource:
		named.Dir, err = filepath.Abs(src.dir)
	case src.kind == stageSource:
		named.Stage, err = src.stage.source(b)
	default:
		return nil, fmt.Errorf("%w: Below takes a Dir or the Path of a stage, not %s", ErrInvalid, src.label())
	}
	return named, err
}

func (b *Builder) newStage(opts StageOptions) *Stage {
	return &Stage{b: b, id: b.newSerial(), name: opts.Name, build: opts.Build, noCache: opts.NoCache, explaining: explaining{tell: opts.Explain}}
}

// open gives the worker what of the options is its matter: how steps are done.
func (o StageOptions) open(stage string) protocol.Open {
	open := protocol.Open{Stage: stage, Name: o.Name, NoCache: o.NoCache, Lookup: o.Lookup, Build: o.Build, CacheTTL: max(0, o.CacheTTL), Cache: o.Cache.ID(), Explain: o.Explain != nil}
	if o.Push != nil {
		open.Push = o.Push.ID()
	}
	if o.LatestTime != nil {
		open.Times = &protocol.Times{Limit: o.LatestTime.Unix(), All: o.AllTimes}
	}
	if o.WorkdirTime != nil {
		open.WorkdirTimes = &protocol.Times{Limit: o.WorkdirTime.Unix(), All: true}
	}
	return open
}

// Fork starts a new stage from this stage's present files and configuration. opts.Pull
// has no meaning here.
func (s *Stage) Fork(ctx context.Context, opts StageOptions) (*Stage, error) {
	if s.closed {
		return nil, ErrClosed
	}
	f := s.b.newStage(opts)
	f.annotations, f.last = s.annotations, s.last
	f.image, f.config, f.history = s.image, s.config.Clone(), slices.Clone(s.history)
	open := opts.open(f.id)
	open.Fork = s.id
	if _, err := callFor(ctx, f, open); err != nil {
		return nil, err
	}
	return f, nil
}

// ID is the stage's in events: no other stage of the Builder has it, an earlier one neither.
func (s *Stage) ID() string { return s.id }

// Config returns a copy of the stage's present configuration.
func (s *Stage) Config() Config { return s.config.Clone() }

// Configure changes the configuration. The image's history gets an entry without a layer,
// which shows the text history; "" makes none.
func (s *Stage) Configure(history string, change func(*Config)) {
	change(&s.config)
	if history != "" {
		s.history = append(s.history, imgspec.History{CreatedBy: history, EmptyLayer: true})
	}
}

// Workdir makes the directory dir (absolute, or relative to the working directory so
// far) when it is missing, owned by the configured user, and makes it the
// configuration's working directory: an absolute dir as it is written, as other builders do.
// history is what the image's history shows for the step; "" is WORKDIR and the directory.
func (s *Stage) Workdir(ctx context.Context, dir, history string) (Step, error) {
	at := s.abs(dir)
	if !path.IsAbs(dir) {
		dir = at
	}
	step, err := s.step(ctx, cmp.Or(history, "WORKDIR "+dir), func() (protocol.Stepped, error) {
		return callFor(ctx, s, protocol.Mkdir{Stage: s.id, Dir: at, User: s.config.User})
	})
	if err == nil {
		s.config.WorkingDir = dir
	}
	return step, err
}

// abs makes a path of the stage absolute by the working directory. A trailing slash is
// dropped.
func (s *Stage) abs(p string) string {
	if path.IsAbs(p) {
		return path.Clean(p)
	}
	return path.Join("/", s.config.WorkingDir, p)
}

// Copy copies sources to dest, as the Dockerfile instruction COPY does: a directory
// source gives its contents; dest is relative to the working directory; with
// several files, or ending in a slash, dest is a directory. Missing directories are
// made. A source that is not there is an error that matches ErrNotFound.
func (s *Stage) Copy(ctx context.Context, dest string, sources ...Source) (Step, error) {
	return s.CopyWith(ctx, CopyOptions{}, dest, sources...)
}

// Add is Copy, except that a source file that is a local tar archive (plain, gzip,
// bzip2, xz or zstd) is unpacked into dest (Dockerfile reference, ADD).
func (s *Stage) Add(ctx context.Context, dest string, sources ...Source) (Step, error) {
	return s.CopyWith(ctx, CopyOptions{Unpack: true}, dest, sources...)
}

// CopyOptions is how CopyWith copies. The zero value is Copy's.
type CopyOptions struct {
	// Unpack unpacks local archives, as Add does.
	Unpack bool
	// Link makes a layer that does not depend on those below, as COPY --link does: the
	// files are copied into an empty root, which then goes on top. When what is below
	// changes, the same layer is found in the cache. Links of the stage are not
	// followed, the owner of a Source must be a number, and its mode is not for directories made on the way.
	Link bool
	// History is what the image's history shows for the step; "" is COPY or ADD with the
	// sources and the destination.
	History string
}

// CopyWith is Copy with options.
func (s *Stage) CopyWith(ctx context.Context, opts CopyOptions, dest string, sources ...Source) (Step, error) {
	verb := "COPY"
	if opts.Unpack {
		verb = "ADD"
	}
	if len(sources) == 0 {
		return Step{}, fmt.Errorf("%w: %s needs a source", ErrInvalid, verb)
	}
	params := protocol.Copy{
		Stage: s.id, Dest: s.abs(dest), Unpack: opts.Unpack, Link: opts.Link,
		Dir: dest == "" || dest == "." || strings.HasSuffix(dest, "/") || strings.HasSuffix(dest, "/."),
	}
	streams, err := s.b.openStreams(sources, &params)
	if err != nil {
		return Step{}, err
	}
	defer streams.close()
	defer context.AfterFunc(ctx, streams.abort)()
	text := cmp.Or(opts.History, verb+" "+describeSources(sources)+" "+dest)
	return s.step(ctx, text, func() (protocol.Stepped, error) {
		out, err := callWith(ctx, s.b, s, params, wire.With{Files: streams.files()})
		if writeErr := streams.wait(ctx); writeErr != nil {
			return out, writeErr
		}
		return out, err
	})
}

// Step is what Copy, Add, Run and Workdir did. With an error it is the zero value, unless the
// step is done all the same: when a writer of a Cmd fails, or Options.Events panics at its end.
type Step struct {
	// Cached says that the step's layer was found, in the cache or because another stage had
	// just made it, and that the step was not done. So a command has not run, and nothing was
	// written to its Stdout and Stderr: what it wrote once is not kept.
	Cached   bool
	Duration time.Duration
	// Layer names the stage's uppermost layer after it, as a LayerError does. It is "" for the
	// empty root, with Removed, and for one that was found in a cache elsewhere and has not been fetched.
	Layer string
	// Removed says that the cache only remembers that layer: see StageOptions.Lookup.
	Removed bool
}

// step does an operation between its events and adds it to the history.
func (s *Stage) step(ctx context.Context, text string, do func() (protocol.Stepped, error)) (Step, error) {
	if s.closed {
		return Step{}, ErrClosed
	}
	t := s.b.teller(s)
	s.doing = text
	start := time.Now()
	t.tell(ctx, event.Event{Kind: event.StepStarted, Step: text})
	if err := t.or(nil); err != nil {
		return Step{}, err
	}
	out, err := do()
	took := time.Since(start)
	t.tell(ctx, event.Event{Kind: event.StepFinished, Step: text, Cached: out.Cached, Duration: took, Err: err})
	if err != nil {
		return Step{}, err
	}
	s.history = append(s.history, imgspec.History{CreatedBy: text, EmptyLayer: !out.Changed})
	if out.Changed {
		s.last = text
	}
	return Step{Cached: out.Cached, Duration: took, Layer: out.Layer, Removed: out.Gone}, t.or(nil)
}

// CommitOptions is what Commit writes beside the stage itself. The zero value is an
// OCI image dated by its last layer.
type CommitOptions struct {
	// Names are further names for the image.
	Names []string
	// Format is "oci" (the default) or "docker".
	Format string
	// Created is the time of the image and of the stages' entries in its history, which
	// those of the base are not later than. nil is that of the last layer, so that an
	// unchanged build gives the same image.
	Created *time.Time
	Author  string
	Comment string
	// Annotations are those of the image's manifest; only OCI's has them.
	Annotations map[string]string
	// InheritAnnotations keeps those of the base image's manifest, also that of a stage from which
	// this one was forked, where Annotations and UnsetAnnotations say nothing of them. Else an image has
	// none but its own, as BuildKit writes it: what is told of the base, as its version and its
	// source, is seldom true of what is built on it.
	InheritAnnotations bool
	// UnsetAnnotations are names of those that the image does not have, wherever they come from.
	UnsetAnnotations []string
	// Squash makes one layer of several: "new" of those that were made on the base image, "all" of that's
	// too, so that the image shares none with others. What a layer removes or replaces of another one is not
	// in it. The history keeps its entries, as such without a layer, and gets one for it. "" leaves the layers.
	Squash string
	// OmitHistory writes no history, not that of the base either.
	OmitHistory bool
	// InlineCache, when not nil, puts the records of what its stages have found and made into the configuration of
	// the image, whose layers are the blobs: who has the image has the cache of it (cache.At.Ref).
	InlineCache *cache.Cache
}

// annotated gives the annotations that the options ask for.
func (s *Stage) annotated(opts CommitOptions) (map[string]string, error) {
	docker := opts.Format == "docker"
	if docker && len(opts.Annotations) > 0 {
		return nil, fmt.Errorf("%w: images of the format docker have no annotations", ErrInvalid)
	}
	all := map[string]string{}
	if opts.InheritAnnotations && !docker {
		maps.Copy(all, s.annotations)
	}
	maps.Copy(all, opts.Annotations)
	for name, text := range all {
		if err := errors.Join(checkUTF8("annotation", name), checkUTF8("annotation", text)); err != nil {
			return nil, err
		}
	}
	for _, name := range opts.UnsetAnnotations {
		delete(all, name)
	}
	return all, nil
}

// Commit writes the stage as an image into the store, under name (which may be "")
// and opts.Names. The stage can be used further.
func (s *Stage) Commit(ctx context.Context, name string, opts CommitOptions) (Image, error) {
	if s.closed {
		return Image{}, ErrClosed
	}
	if err := checkFormat(opts.Format); err != nil {
		return Image{}, err
	}
	if opts.Squash != "" && opts.Squash != "new" && opts.Squash != "all" {
		return Image{}, fmt.Errorf("%w: CommitOptions.Squash %q is neither new nor all", ErrInvalid, opts.Squash)
	}
	annotations, err := s.annotated(opts)
	if err = errors.Join(s.config.Validate(), err, checkUTF8("author", opts.Author)); err != nil {
		return Image{}, err
	}
	img := s.image
	img.Config, img.History = s.config, nil
	img.Variant = img.platform().Normal().Variant // as BuildKit writes it
	if opts.Author != "" {
		img.Author = opts.Author
	}
	raw, err := json.Marshal(img)
	if err != nil {
		return Image{}, err
	}
	history := slices.Clone(s.history)
	if opts.Comment != "" && len(history) > 0 {
		history[len(history)-1].Comment = opts.Comment
	}
	if opts.OmitHistory {
		history = nil
	}
	params := protocol.Commit{Stage: s.id, Docker: opts.Format == "docker", Annotations: annotations, Created: opts.Created, Image: raw, History: history,
		Squash: opts.Squash, Base: len(s.image.History), Inline: opts.InlineCache.ID()}
	if name != "" {
		params.Names = append(params.Names, name)
	}
	params.Names = append(params.Names, opts.Names...)
	out, err := callFor(ctx, s, params)
	if err != nil {
		return Image{}, err
	}
	t := s.b.teller(s)
	t.tell(ctx, event.Event{Kind: event.Committed, Ref: out.ID})
	return image(out), t.or(nil)
}

// Close ends the stage and forgets what is not committed, except for the layer cache.
// It is idempotent and harmless after Commit.
func (s *Stage) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	_, err := call(context.Background(), s.b, protocol.CloseStage{Stage: s.id})
	if errors.Is(err, ErrClosed) {
		return nil
	}
	return err
}
