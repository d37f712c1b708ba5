package dockerfile

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/buildertest"
	"github.com/oakum-build/oakum/builder/machine"
)

// fake is a Builder in memory that keeps what is asked of it. Its copies and commands do nothing.
type fake struct {
	images  map[string]builder.Config          // beside scratch
	fail    map[string]error                   // by the text of an operation's log line
	fails   func(line string) error            // the same, found out when it is done
	failAll error                              // of every COPY, ADD and RUN
	hold    func(line string)                  // called in every operation
	run     func(context.Context, builder.Cmd) // called in every command
	broken  []string                           // what CheckCommand says
	lacks   []machine.Probe                    // for which no command can be run

	b       *builder.Builder
	mu      sync.Mutex
	log     []string
	open    int
	target  *target                 // what was committed
	ops     []buildertest.Operation // FROM and FORK
	on      map[string]string       // by the line in the log, the layer before
	cmds    []builder.Cmd
	mounts  [][]buildertest.Mount // of each of the cmds
	copies  []buildertest.Operation
	commits []builder.CommitOptions
}

// target is what an image says.
type target struct {
	author  string
	config  builder.Config
	history []string // "-" before those without a layer
}

// builder gives the Builder.
func (f *fake) builder(t *testing.T) *builder.Builder {
	if f.b != nil {
		return f.b
	}
	images := map[string]buildertest.Image{}
	for name, config := range f.images {
		images[name] = buildertest.Image{Config: config}
	}
	f.b = buildertest.New(t, buildertest.Options{
		Images: images, Before: f.before, Lacks: f.lacks,
		CheckCommand: func([]string) []string { return f.broken },
		Run: func(ctx context.Context, cmd builder.Cmd, _ buildertest.Files) (int, error) {
			if f.run != nil {
				f.run(ctx, cmd)
			}
			fmt.Fprint(cmd.Stdout, "out\n")
			fmt.Fprint(cmd.Stderr, "err\n")
			return 0, nil
		},
	})
	return f.b
}

// opened are options by which Check opens the Builder.
func (f *fake) opened(t *testing.T, opts Options) Options {
	opts.Open = func(context.Context) (*builder.Builder, error) { return f.builder(t), nil }
	return opts
}

// before keeps an operation, and says how it is to fail.
func (f *fake) before(op *buildertest.Operation) error {
	line := f.keep(op)
	if line == "" {
		return nil
	}
	if f.hold != nil {
		f.hold(line)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.fail[line]
	if f.fails != nil {
		err = f.fails(line)
	}
	if f.failAll != nil && (op.Verb == "RUN" || op.Verb == "COPY" || op.Verb == "ADD") {
		err = f.failAll
	}
	if err != nil && (op.Verb == "FROM" || op.Verb == "FORK") {
		f.open--
	}
	return err
}

// keep keeps an operation, and gives its line in the log.
func (f *fake) keep(op *buildertest.Operation) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	line := op.Stage + ": " + op.Verb + " "
	switch op.Verb {
	case "CLOSE":
		f.open--
		return ""
	case "FROM", "FORK":
		if _, ok := f.images[op.From]; !ok && op.Verb == "FROM" && op.From != builder.Scratch {
			return "" // it is not found
		}
		f.open++
		f.ops = append(f.ops, *op)
		line += op.From
	case "COPY", "ADD":
		op.Done = true
		f.copies = append(f.copies, *op)
		var patterns []string
		for _, src := range op.Sources {
			if src.Stage != "" {
				line += "from " + src.Stage + " "
			}
			patterns = append(patterns, src.Patterns...)
		}
		line += strings.Join(patterns, " ") + " -> " + op.Dest
	case "RUN":
		op.Done = len(op.Mounts) > 0 // what they show is not there
		f.cmds = append(f.cmds, op.Cmd)
		f.mounts = append(f.mounts, op.Mounts)
		line += strings.Join(op.Cmd.Args, " ")
	case "WORKDIR":
		line += op.Dest
	case "COMMIT":
		f.commits = append(f.commits, op.Commit)
		line += strings.Join(op.Commit.Names, " ")
	}
	f.log = append(f.log, line)
	if f.on == nil {
		f.on = map[string]string{}
	}
	f.on[line] = op.On
	return line
}

// buildText builds a Dockerfile given as text, one stage at a time, with images
// base (which has a PATH) and tool.
func buildText(t *testing.T, text string, change func(*fake, *Options)) (*fake, error) {
	t.Helper()
	f := &fake{images: map[string]builder.Config{
		"base": {Env: []string{"PATH=/bin"}},
		"tool": {},
	}}
	return buildOn(t, f, text, change)
}

// buildOn is buildText on a fake that has built before, maybe.
func buildOn(t *testing.T, f *fake, text string, change func(*fake, *Options)) (*fake, error) {
	t.Helper()
	opts := Options{Context: Context{Dir: t.TempDir()}, Steps: Steps{Jobs: 1}, Image: Image{Names: []string{"out"}}}
	if change != nil {
		change(f, &opts)
	}
	r, err := newBuilding(t.Context(), f.builder(t), opts, loadText(t, text, opts), "", newShared(opts))
	if err != nil {
		return f, err
	}
	node, err := r.stages(t.Context())
	if err == nil {
		var img builder.Image
		img, err = r.commit(t.Context(), node)
		f.inspect(t, img)
	}
	r.close()
	if f.open != 0 {
		t.Errorf("%d stages left open", f.open)
	}
	return f, err
}

// inspect keeps what an image says.
func (f *fake) inspect(t *testing.T, img builder.Image) {
	t.Helper()
	if img.ID == "" {
		return
	}
	detail, err := f.b.Inspect(t.Context(), img.ID)
	if err != nil {
		t.Fatal(err)
	}
	f.target = &target{author: detail.Author, config: detail.Config}
	for _, entry := range detail.History {
		text := entry.CreatedBy
		if entry.EmptyLayer {
			text = "-" + text
		}
		f.target.history = append(f.target.history, text)
	}
}

// beyondConfig are the variables of a command that are not those of the image.
func (f *fake) beyondConfig(env []string) (more []string) {
	for _, entry := range env {
		if !slices.Contains(f.target.config.Env, entry) {
			more = append(more, entry)
		}
	}
	return more
}

// loadText loads a text alone. The context's directory need not be there.
func loadText(t *testing.T, text string, opts Options) *loaded {
	t.Helper()
	dir := opts.Context.Dir
	opts.Context.Dir, opts.File = "", File{Text: strings.NewReader(text)}
	in, err := loadAll(t.Context(), nil, opts)
	if err != nil {
		t.Fatal(err)
	}
	in.Context.Dir = dir
	return in
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
