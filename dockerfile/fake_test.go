package dockerfile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oakum-build/oakum/builder"
)

// fake is a backend that records what is asked of it.
type fake struct {
	images  map[string]builder.Config // beside scratch
	fail    map[string]error          // by the text of an operation's log line
	failAll error                     // of every Bring and Run
	hold    func(line string)         // called in every operation
	broken  []string                  // what CheckCommand says

	mu      sync.Mutex
	log     []string
	open    int
	target  *fakeStage // the one that was committed
	cmds    []builder.Cmd
	files   []files
	commits []builder.CommitOptions
}

func (f *fake) record(format string, args ...any) error {
	line := fmt.Sprintf(format, args...)
	f.mu.Lock()
	f.log = append(f.log, line)
	err := f.fail[line]
	if f.failAll != nil && (strings.Contains(line, ": RUN ") || strings.Contains(line, " -> ")) {
		err = f.failAll
	}
	f.mu.Unlock()
	if f.hold != nil {
		f.hold(line)
	}
	return err
}

func (f *fake) Stage(ctx context.Context, from string, opts builder.StageOptions) (stage, error) {
	config, ok := f.images[from]
	if !ok && from != builder.Scratch {
		return nil, fmt.Errorf("%s: %w", from, builder.ErrImageNotFound)
	}
	if err := f.record("%s: FROM %s", opts.Name, from); err != nil {
		return nil, err
	}
	return f.stage(opts.Name, config.Clone()), nil
}

func (f *fake) ReadFile(_ context.Context, _, name string, _ int) ([]byte, error) {
	return nil, f.record("READ %s", name)
}

func (f *fake) Remembers(context.Context) (bool, error) { return false, nil }

func (f *fake) stage(name string, config builder.Config) *fakeStage {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open++
	return &fakeStage{fake: f, name: name, config: config}
}

// fakeStage records what is done in it, and keeps its configuration and history.
type fakeStage struct {
	*fake
	name    string
	config  builder.Config
	next    string   // of Describe
	history []string // "-" before those without a layer
	closed  bool
}

func (s *fakeStage) Fork(_ context.Context, opts builder.StageOptions) (stage, error) {
	if err := s.record("%s: FORK %s", opts.Name, s.name); err != nil {
		return nil, err
	}
	child := s.fake.stage(opts.Name, s.config.Clone())
	child.history = slices.Clone(s.history)
	return child, nil
}

func (s *fakeStage) Config() builder.Config { return s.config.Clone() }
func (s *fakeStage) Platform() string       { return "linux/" + runtime.GOARCH }
func (s *fakeStage) SetPlatform(platform string) error {
	return s.record("%s: platform %s", s.name, platform)
}
func (s *fakeStage) Describe(text string) { s.next = text }

func (s *fakeStage) Configure(change func(*builder.Config)) {
	change(&s.config)
	if s.next != "" {
		s.history = append(s.history, "-"+s.next)
	}
	s.next = ""
}

func (s *fakeStage) CheckCommand(context.Context) ([]string, error) { return s.broken, nil }

func (s *fakeStage) ReadFile(context.Context, string, int) ([]byte, error) {
	return nil, builder.ErrNotFound
}

func (s *fakeStage) LatestTime(context.Context) (time.Time, error) { return time.Time{}, nil }

func (s *fakeStage) layer() {
	s.history = append(s.history, s.next)
	s.next = ""
}

func (s *fakeStage) Workdir(_ context.Context, dir string) error {
	s.layer()
	s.config.WorkingDir = dir
	return s.record("%s: WORKDIR %s", s.name, dir)
}

func (s *fakeStage) Bring(ctx context.Context, f files) error {
	s.layer()
	verb := "COPY"
	if f.unpack {
		verb = "ADD"
	}
	if from, ok := f.from.(*fakeStage); ok {
		verb += " from " + from.name
	}
	s.mu.Lock()
	s.fake.files = append(s.fake.files, f)
	s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.record("%s: %s %s -> %s", s.name, verb, strings.Join(f.patterns, " "), f.dest)
}

func (s *fakeStage) Run(ctx context.Context, cmd builder.Cmd) error {
	s.layer()
	s.mu.Lock()
	s.cmds = append(s.cmds, cmd)
	s.mu.Unlock()
	if err := s.record("%s: RUN %s", s.name, strings.Join(cmd.Args, " ")); err != nil {
		return err
	}
	if cmd.Stdout != nil {
		fmt.Fprint(cmd.Stdout, "out\n")
		fmt.Fprint(cmd.Stderr, "err\n")
	}
	return ctx.Err()
}

// Last names the layer by the text of its step.
func (s *fakeStage) Last() builder.Step {
	step := builder.Step{Cached: true}
	if len(s.history) > 0 {
		step.Layer = s.history[len(s.history)-1]
	}
	return step
}

func (s *fakeStage) Commit(_ context.Context, name string, opts builder.CommitOptions) (builder.Image, error) {
	s.mu.Lock()
	s.commits = append(s.commits, opts)
	s.target = s
	s.mu.Unlock()
	return builder.Image{ID: "id", Names: []string{name}}, s.record("%s: COMMIT %s", s.name, name)
}

func (s *fakeStage) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.New("closed twice")
	}
	s.closed = true
	s.open--
	return nil
}

// buildText builds a Dockerfile given as text, one stage at a time, with images
// base (which has a PATH) and tool.
func buildText(t *testing.T, text string, change func(*fake, *Options)) (*fake, error) {
	t.Helper()
	f := &fake{images: map[string]builder.Config{
		"base": {Env: []string{"PATH=/bin"}},
		"tool": {},
	}}
	opts := Options{ContextDir: t.TempDir(), Jobs: 1, Names: []string{"out"}}
	if change != nil {
		change(f, &opts)
	}
	r, err := newRun(t.Context(), f, opts, source{name: "Dockerfile", text: []byte(text)})
	if err != nil {
		return f, err
	}
	target, err := r.stages(t.Context())
	if err == nil {
		_, err = r.commit(t.Context(), target)
	}
	r.close()
	if f.open != 0 {
		t.Errorf("%d stages left open", f.open)
	}
	return f, err
}

// mustBuild is buildText for a build that succeeds.
func mustBuild(t *testing.T, text string, change func(*fake, *Options)) *fake {
	t.Helper()
	f, err := buildText(t, text, change)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// arguments are Options.BuildArgs.
func arguments(values map[string]string) map[string]*string {
	args := map[string]*string{}
	for name := range maps.Keys(values) {
		value := values[name]
		args[name] = &value
	}
	return args
}

// equal compares lists of lines.
func equal(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n  %s\nwant:\n  %s", what, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// optionsFake keeps the options that stages are opened with.
type optionsFake struct {
	fake
	got []builder.StageOptions
}

func (f *optionsFake) Stage(ctx context.Context, from string, opts builder.StageOptions) (stage, error) {
	f.got = append(f.got, opts)
	return f.fake.Stage(ctx, from, opts)
}
