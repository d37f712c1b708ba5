package builder

import (
	"context"
	"errors"
	"io"
	"time"

	digest "github.com/opencontainers/go-digest"
)

// Builder is a handle on a store and on the worker that builds in it.
type Builder struct{}

// Open starts a Builder: it checks what this machine allows and starts the worker.
// The context bounds Open alone. Close must be called.
func Open(ctx context.Context, opts Options) (*Builder, error) {
	return nil, errors.New("unimplemented")
}

// Close ends the worker, and with it all that is still running or mounted. It is
// idempotent. Stages of the Builder are closed by it.
func (b *Builder) Close() error { return nil }

// Stage starts a filesystem and a configuration from an image of the store or a
// registry, or from Scratch. The stage must be closed.
func (b *Builder) Stage(ctx context.Context, from string, opts StageOptions) (*Stage, error) {
	return nil, errors.New("unimplemented")
}

// Info describes the store and what was probed of this machine.
func (b *Builder) Info(ctx context.Context) (Info, error) {
	return Info{}, errors.New("unimplemented")
}

// Info is what Builder.Info found.
type Info struct {
	Root, RunRoot, Driver string
	DriverStatus          [][2]string
	Rootless              bool
	UIDMap, GIDMap        []IDMap
	Kernel, Arch          string
	Images, Layers        int
}

// IDMap is one line of a user namespace's id map.
type IDMap struct{ Inside, Outside, Count uint32 }

// Stage is a filesystem being built, with its configuration. It belongs to one
// goroutine at a time.
type Stage struct{}

// Fork starts a new stage from this stage's present files and configuration.
func (s *Stage) Fork(ctx context.Context, opts StageOptions) (*Stage, error) {
	return nil, errors.New("unimplemented")
}

// Config returns a copy of the stage's present configuration.
func (s *Stage) Config() Config { return Config{} }

// Describe sets the text that the image's history will show for the next
// operation on the stage. Without it Copy, Add, Run and Workdir describe themselves.
func (s *Stage) Describe(createdBy string) {}

// Configure changes the configuration. When Describe named the change, the history
// gets an entry without a layer.
func (s *Stage) Configure(change func(*Config)) {}

// Workdir creates the directory dir (absolute, or relative to the working
// directory so far) when it is missing, owned by the configured user, and makes it
// the configuration's working directory.
func (s *Stage) Workdir(ctx context.Context, dir string) error {
	return errors.New("unimplemented")
}

// Copy copies sources to dest, as the Dockerfile instruction COPY does: a directory
// source gives its contents; dest is relative to the working directory; with
// several files, or ending in a slash, dest is a directory. Missing directories are
// made. A source that matches nothing is an error that matches ErrNotFound.
func (s *Stage) Copy(ctx context.Context, dest string, sources ...Source) error {
	return errors.New("unimplemented")
}

// Add is Copy, except that a source file that is a local tar archive (plain, gzip,
// bzip2, xz or zstd) is unpacked into dest (Dockerfile reference, ADD).
func (s *Stage) Add(ctx context.Context, dest string, sources ...Source) error {
	return errors.New("unimplemented")
}

// Cmd is a command to run in a stage; its fields are those of os/exec.Cmd.
type Cmd struct {
	// Args is the command and its arguments. A name without a slash is searched in
	// the PATH of the command's environment, inside the stage.
	Args []string
	// Env is added to the configuration's environment and is part of the cache key.
	Env []string
	// UncachedEnv is added too but is left out of the cache key (proxy settings).
	UncachedEnv []string
	// Dir is the working directory; "" is the configuration's, else /.
	Dir string
	// User is user[:group] by name or number; "" is the configuration's, else root.
	User string
	// Stdin is the standard input; nil is empty.
	Stdin io.Reader
	// Stdout and Stderr receive the output; nil discards it. An *os.File is given to
	// the command itself.
	Stdout, Stderr io.Writer
	// Ephemeral throws the command's changes to the files away, and bypasses the cache.
	Ephemeral bool
}

// Run runs a command in the stage, in new mount, PID, IPC and UTS namespaces, with
// Docker's default capabilities and seccomp filter. When it returns, every process
// of the command is gone. A command that fails is an *ExitError, and leaves the
// stage as it was.
func (s *Stage) Run(ctx context.Context, cmd Cmd) error {
	return errors.New("unimplemented")
}

// Step is the outcome of an operation on a stage.
type Step struct {
	Cached   bool
	Duration time.Duration
}

// Last is the outcome of the last Copy, Add, Run or Workdir that succeeded.
func (s *Stage) Last() Step { return Step{} }

// Path is a source for another stage's Copy: what the patterns (Dockerfile
// reference, COPY; relative to the root) name in this stage's present files.
// Owners and modes are kept.
func (s *Stage) Path(patterns ...string) Source { return Source{} }

// CommitOptions is what Commit writes beside the stage itself. The zero value is an
// OCI image created now.
type CommitOptions struct {
	// Names are further names for the image.
	Names []string
	// Format is "oci" (the default) or "docker".
	Format string
	// Created is the image's creation time; nil is now.
	Created *time.Time
	Author  string
	Comment string
}

// Commit writes the stage as an image into the store, under name (which may be "")
// and opts.Names. The stage can be used further.
func (s *Stage) Commit(ctx context.Context, name string, opts CommitOptions) (Image, error) {
	return Image{}, errors.New("unimplemented")
}

// Close ends the stage and undoes what is not committed. It is idempotent and
// harmless after Commit.
func (s *Stage) Close() error { return nil }

// Image is an image in the store.
type Image struct {
	ID      string        // hex, without algorithm
	Digest  digest.Digest // of its manifest
	Names   []string
	Created time.Time
	Size    int64 // bytes, uncompressed, with its base
}
