//go:build linux

package builder

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oakum-build/oakum/builder/internal/worker"
	"github.com/oakum-build/oakum/storage"
)

// Stage is a filesystem being built, with its configuration. It belongs to one
// goroutine at a time; once no step runs on it, many may use Path and Fork.
type Stage struct {
	b        *Builder
	id       string
	name     string
	noCache  bool
	times    *worker.Times
	dirTimes *worker.Times // of what Workdir makes
	image    baseImage
	config   Config
	history  []worker.HistoryEntry
	next     string // what Describe said
	last     Step
	closed   bool
}

// baseImage is what an image configuration says beside its config.
type baseImage struct {
	Author       string                `json:"author,omitempty"`
	Architecture string                `json:"architecture"`
	Variant      string                `json:"variant,omitempty"`
	OS           string                `json:"os"`
	OSVersion    string                `json:"os.version,omitempty"`
	OSFeatures   []string              `json:"os.features,omitempty"`
	Config       Config                `json:"config"`
	History      []worker.HistoryEntry `json:"history,omitempty"`
}

// Stage starts a filesystem and a configuration from an image of the store or a
// registry, from one with a transport as in Pull, or from Scratch. What an archive or layout
// calls its image is no name of it here. The stage must be closed.
func (b *Builder) Stage(ctx context.Context, from string, opts StageOptions) (*Stage, error) {
	wanted, err := platform(opts.Platform)
	if err != nil {
		return nil, err
	}
	s := b.newStage(opts)
	open := worker.Open{Stage: s.id, From: from, Platform: wanted, NoCache: opts.NoCache, Lookup: opts.Lookup, Build: opts.Build, Times: s.times, Pull: string(opts.Pull), Access: b.opts.Registry.access()}
	if from == Scratch {
		open.From = ""
	} else if from == "" {
		return nil, fmt.Errorf("%w: it is empty", ErrReference)
	}
	if open.Below, err = b.below(opts.Below); err != nil {
		return nil, err
	}
	var opened worker.Opened
	if err := b.call(ctx, "open", open, &opened, nil); err != nil {
		return nil, err
	}
	if len(opened.Config) > 0 {
		if err := json.Unmarshal(opened.Config, &s.image); err != nil {
			return nil, fmt.Errorf("image configuration of %s: %w", from, err)
		}
	}
	if s.image.OS == "" || s.image.Architecture == "" {
		s.image.setPlatform(cmp.Or(wanted, storage.HostPlatform()))
	}
	s.config, s.history = s.image.Config, s.image.History
	return s, nil
}

// below gives StageOptions.Below to the worker.
func (b *Builder) below(src *Source) (*worker.Below, error) {
	switch {
	case src == nil:
		return nil, nil
	case src.stage != nil && src.stage.b != b:
		return nil, fmt.Errorf("%w: a stage of another Builder", ErrInvalid)
	case src.stage != nil && src.stage.closed:
		return nil, ErrClosed
	case src.stage != nil:
		return &worker.Below{Stage: src.stage.id}, nil
	case src.dir != "":
		dir, err := filepath.Abs(src.dir)
		return &worker.Below{Dir: dir}, err
	}
	return &worker.Below{}, nil
}

func (b *Builder) newStage(opts StageOptions) *Stage {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.serial++
	s := &Stage{b: b, id: strconv.Itoa(b.serial), name: opts.Name, noCache: opts.NoCache}
	if opts.LatestTime != nil {
		s.times = &worker.Times{Limit: opts.LatestTime.Unix(), All: opts.AllTimes}
	}
	if opts.WorkdirTime != nil {
		s.dirTimes = &worker.Times{Limit: opts.WorkdirTime.Unix(), All: true}
	}
	return s
}

// Fork starts a new stage from this stage's present files and configuration. opts.Pull
// has no meaning here.
func (s *Stage) Fork(ctx context.Context, opts StageOptions) (*Stage, error) {
	if s.closed {
		return nil, ErrClosed
	}
	f := s.b.newStage(opts)
	f.image, f.config, f.history = s.image, s.config.Clone(), slices.Clone(s.history)
	err := s.b.call(ctx, "open", worker.Open{Stage: f.id, Fork: s.id, NoCache: opts.NoCache, Lookup: opts.Lookup, Build: opts.Build, Times: f.times}, nil, nil)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Config returns a copy of the stage's present configuration.
func (s *Stage) Config() Config { return s.config.Clone() }

// Describe sets the text that the image's history will show for the next
// operation on the stage. Without it Copy, Add, Run and Workdir describe themselves.
func (s *Stage) Describe(createdBy string) { s.next = createdBy }

// Configure changes the configuration. When Describe named the change, the history
// gets an entry without a layer.
func (s *Stage) Configure(change func(*Config)) {
	change(&s.config)
	if s.next != "" {
		s.history = append(s.history, worker.HistoryEntry{CreatedBy: s.next, EmptyLayer: true})
		s.next = ""
	}
}

// Workdir makes the directory dir (absolute, or relative to the working directory so
// far) when it is missing, owned by the configured user, and makes it the
// configuration's working directory: an absolute dir as it is written, as other builders do.
func (s *Stage) Workdir(ctx context.Context, dir string) error {
	at := s.abs(dir)
	if !path.IsAbs(dir) {
		dir = at
	}
	err := s.step("WORKDIR "+dir, func(out *worker.Stepped) error {
		return s.b.call(ctx, "mkdir", worker.Mkdir{Stage: s.id, Dir: at, User: s.config.User, Times: s.dirTimes}, out, nil)
	})
	if err == nil {
		s.config.WorkingDir = dir
	}
	return err
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
func (s *Stage) Copy(ctx context.Context, dest string, sources ...Source) error {
	return s.CopyWith(ctx, CopyOptions{}, dest, sources...)
}

// Add is Copy, except that a source file that is a local tar archive (plain, gzip,
// bzip2, xz or zstd) is unpacked into dest (Dockerfile reference, ADD).
func (s *Stage) Add(ctx context.Context, dest string, sources ...Source) error {
	return s.CopyWith(ctx, CopyOptions{Unpack: true}, dest, sources...)
}

// CopyOptions is how CopyWith copies. The zero value is Copy's.
type CopyOptions struct {
	// Unpack unpacks local archives, as Add does.
	Unpack bool
	// Link makes a layer that does not depend on those below, as COPY --link does: the
	// files are copied into an empty root, which then goes on top. When what is below
	// changes, the same layer is found in the cache. Links of the stage are not
	// followed, and the owner of a Source must be a number.
	Link bool
}

// CopyWith is Copy with options.
func (s *Stage) CopyWith(ctx context.Context, opts CopyOptions, dest string, sources ...Source) error {
	verb := "COPY"
	if opts.Unpack {
		verb = "ADD"
	}
	if len(sources) == 0 {
		return fmt.Errorf("%w: %s needs a source", ErrInvalid, verb)
	}
	params := worker.Copy{
		Stage: s.id, Dest: s.abs(dest), Unpack: opts.Unpack, Link: opts.Link,
		Dir: dest == "" || dest == "." || strings.HasSuffix(dest, "/") || strings.HasSuffix(dest, "/."),
	}
	streams, err := s.b.openStreams(sources, &params)
	if err != nil {
		return err
	}
	defer streams.close()
	defer context.AfterFunc(ctx, streams.abort)()
	text := verb + " " + describeSources(sources) + " " + dest
	return s.step(text, func(out *worker.Stepped) error {
		err := s.b.call(ctx, "copy", params, out, streams.files())
		if writeErr := streams.wait(ctx); writeErr != nil {
			return writeErr
		}
		return err
	})
}

// Step is the outcome of an operation on a stage.
type Step struct {
	Cached   bool
	Duration time.Duration
	// Layer names the stage's uppermost layer after it, as a LayerError does.
	Layer string
	// Removed says that the cache only remembers that layer: see StageOptions.Lookup.
	Removed bool
}

// Last is the outcome of the last Copy, Add, Run or Workdir that succeeded.
func (s *Stage) Last() Step { return s.last }

// step does an operation between its events and adds it to the history.
func (s *Stage) step(text string, do func(*worker.Stepped) error) error {
	if s.closed {
		return ErrClosed
	}
	if s.next != "" {
		text, s.next = s.next, ""
	}
	start := time.Now()
	s.b.event(Event{Kind: EventStepStarted, Stage: s.name, Step: text})
	var out worker.Stepped
	err := do(&out)
	took := time.Since(start)
	s.b.event(Event{Kind: EventStepFinished, Stage: s.name, Step: text, Cached: out.Cached, Duration: took, Err: err})
	if err != nil {
		return err
	}
	s.last = Step{Cached: out.Cached, Duration: took, Layer: out.Layer, Removed: out.Gone}
	s.history = append(s.history, worker.HistoryEntry{CreatedBy: text, EmptyLayer: !out.Changed})
	return nil
}

// Path is a source for another stage's Copy: what the patterns (Dockerfile
// reference, COPY; relative to the root) name in this stage's present files.
// Owners and modes are kept.
func (s *Stage) Path(patterns ...string) Source { return Source{stage: s, patterns: patterns} }

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
	docker := opts.Format == "docker"
	if docker && len(opts.Annotations) > 0 {
		return Image{}, fmt.Errorf("%w: images of the format docker have no annotations", ErrInvalid)
	}
	err := s.config.Validate()
	for name, text := range opts.Annotations {
		err = errors.Join(err, checkUTF8("annotation", name), checkUTF8("annotation", text))
	}
	if err = errors.Join(err, checkUTF8("author", opts.Author)); err != nil {
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
	params := worker.Commit{Stage: s.id, Docker: docker, Annotations: opts.Annotations, Created: opts.Created, Image: raw, History: history}
	if name != "" {
		params.Names = append(params.Names, name)
	}
	params.Names = append(params.Names, opts.Names...)
	var out imageRecord
	if err := s.b.call(ctx, "commit", params, &out, nil); err != nil {
		return Image{}, err
	}
	s.b.event(Event{Kind: EventCommitted, Stage: s.name, Ref: out.ID})
	return out.image(), nil
}

// Close ends the stage and forgets what is not committed, except for the layer cache.
// It is idempotent and harmless after Commit.
func (s *Stage) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	err := s.b.call(context.Background(), "close", s.id, nil, nil)
	if errors.Is(err, ErrClosed) {
		return nil
	}
	return err
}
