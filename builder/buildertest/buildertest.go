// Package buildertest is for tests of programs that build with package builder. [New] gives a
// *builder.Builder that keeps stages, layers and images in memory: it starts no process, makes no
// store, and works on machines that have no user namespaces. What it is asked for it does by
// the same rules as the real one, which [Suite] checks of both; commands are functions of the
// test.
//
//	b := buildertest.New(t, buildertest.Options{
//		Images: map[string]buildertest.Image{"docker.io/library/golang:1.26": {}},
//		Run: func(ctx context.Context, cmd builder.Cmd, files buildertest.Files) (int, error) {
//			return 0, files.WriteFile("/out/app", []byte("program"), 0o755)
//		},
//	})
//	img, err := BuildApp(ctx, b, "app")
//
// It does not do what only a machine can: archives, layouts and registries are not reached,
// terminals are not made, ssh agents are not shown, and what a command would be kept from it is not. What goes to a place
// elsewhere is found there by the same Builder alone; ExportMounts has a form of its own, which the real Builder does not read.
package buildertest

import (
	"context"
	"io/fs"
	"testing"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/internal/protocol"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/builder/machine"
	"github.com/oakum-build/oakum/builder/mount"
	"github.com/oakum-build/oakum/storage/remotecache"
)

// Options is what a Builder of New finds in its world. The zero value has no images, and in it
// each command succeeds without doing anything.
type Options struct {
	// Images are those that can be pulled, by their names.
	Images map[string]Image
	// Remote is what URLs and git references give, as builder.URL and builder.Git name them. Of
	// a URL it is a file system with the one file.
	Remote map[string]fs.FS
	// Run stands for the command of a RUN step. It may change files, which are the stage's with what
	// the command's mounts show, but for ssh, and gives the exit status; an error is a command that could not be started. It reads
	// and writes what cmd has, whose Env has the secrets that are variables. A step that is found in the cache does not call it.
	Run func(ctx context.Context, cmd builder.Cmd, files Files) (status int, err error)
	// CheckCommand is what Stage.CheckCommand says of a command; nil finds nothing.
	CheckCommand func(args []string) []string
	// Lacks, when there are any, is what a machine lacks on which no command can be run
	// (isolation.NoCommands).
	Lacks []machine.Probe
	// Before is told each operation before it is done, from the goroutine that does it. An error is
	// that of the operation.
	Before func(*Operation) error
	// Builder are the options of the Builder. Its store and registries have no meaning here.
	Builder builder.Options
}

// Image is an image that can be pulled.
type Image struct {
	Config builder.Config
	Files  fs.FS // nil has none
	// Err, when not nil, is why it cannot be pulled.
	Err error
}

// Operation is what a Builder is asked to do.
type Operation struct {
	Verb  string // FROM, FORK, COPY, ADD, RUN, WORKDIR, COMMIT or CLOSE
	Stage string // its StageOptions.Name
	On    string // the stage's layer before it, as in builder.Step
	// From is the image that a FROM names, or the stage that is forked.
	From    string
	Options builder.StageOptions // of FROM and FORK, but for Below
	Below   *Source              // of FROM: what its options have there
	Dest    string               // of COPY, ADD and WORKDIR, absolute
	Sources []Source             // of COPY and ADD
	Link    bool
	Cmd     builder.Cmd           // of RUN, with the stage's whole environment and without readers, writers and mounts
	Mounts  []Mount               // of RUN
	Commit  builder.CommitOptions // of COMMIT; Names has all names
	// Done, when it is set, leaves the files as they are: the operation is taken to be done.
	Done bool
}

// Source is a builder.Source of an Operation.
type Source struct {
	// Dir, Stage, Image or Remote is where the files are, which a stream has none of.
	Dir, Stage, Image, Remote string
	Patterns, Ignore, Exclude []string
	Parents, OwnedByRoot      bool
	Chown, Chmod              string
	Checksum, Authorization   string
}

// Mount is a builder.Mount of an Operation, with an absolute Target. A Secret is asked for
// when the command is run.
type Mount struct {
	Target   string
	From     *Source // nil without one
	ReadOnly bool

	Cache  *mount.Cache
	Tmpfs  *mount.Tmpfs
	Secret *mount.Secret
	SSH    *mount.SSH
}

// New makes a Builder, which is closed when the test ends.
func New(t testing.TB, opts Options) *builder.Builder {
	t.Helper()
	s := &server{opts: opts, stages: map[string]*stage{}, cache: map[string]*layer{}, images: map[string]*image{}, names: map[string]string{}, held: map[string]*held{}, pushes: map[string][]string{}, travelling: map[string]bool{}, exported: map[remotecache.At]bool{}, moved: map[remotecache.At][]byte{}, kept: map[cacheKey]tree{}, remote: map[string]Image{}}
	for name, img := range opts.Images {
		s.remote[candidates(name)[0]] = img
	}
	w := wire.NewServer(protocol.Encode, nil)
	s.register(w)
	b, err := builder.OpenOver(t.Context(), w.Local(), opts.Builder)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}
