//go:build linux

// Package input is what a step reads: the files of a directory, a stage, an image, a stream, a
// URL or a git repository. COPY and ADD copy from inputs, an archive that FROM names is looked up
// in one, and a mount of RUN shows one.
//
// A Source names an input, Find finds it, and from then on all kinds are alike.
package input

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"

	"github.com/oakum-build/oakum/builder/foreign"
	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/builder/internal/step"
	"github.com/oakum-build/oakum/builder/internal/workspace"
	"github.com/oakum-build/oakum/builder/limits"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/fingerprints"
	"github.com/oakum-build/oakum/storage/retry"
)

// Input is the files that a Source names. It belongs to one goroutine at a time.
//
// Known before anything is opened: for a stage, an image, a URL and a git repository, the layer
// that holds the files, for Find has fetched what the store did not have. For a
// directory and a stream nothing is known.
//
// Digest, Root, Open, OpenFile and OpenDir may be called in any order and as often as is of use
// until Close: the files are opened, mounted or unpacked once, when first asked for, and what was
// digested is not read again. Nothing follows a path out of the input: what they give is open,
// and what is looked up is resolved by descriptor.
type Input struct {
	src   Source
	files files
	mode  *filecopy.Mode

	root   *os.File
	digest string
	list   *fingerprints.Listing // of the last walk; see explain.go
	env    Env
}

// files is a kind of input.
type files interface {
	// open gives the root directory, which belongs to the kind. It is called once at most.
	open(ctx context.Context) (*os.File, error)
	// fill says what else a walk of the open files must know.
	fill(tree *filecopy.Tree) error
	// known is the digest, if it is known without reading the files; else "".
	known() string
	// learn is told a digest when all that it covers has been read, and fails when that was not
	// what the input is.
	learn(digest string) error
	// close undoes what open did. It is called once, whether open was or not.
	close() error
}

// Env is what inputs need of the worker and of the call that names them.
type Env struct {
	Store  *storage.Store
	Layers Layers
	Call   Call
	// Memory is a directory in memory for what is small, and Mounts are places whose file
	// systems belong to the worker, and are no part of a directory that has them in it.
	Memory string
	Mounts []string
	// Outside is filecopy.Tree.Outside for directories of this machine.
	Outside bool
}

// Call is what comes with a call and what it gets back.
type Call struct {
	Files []*os.File // of which Stream.File is one; the caller closes them
	Retry retry.Policy
	// Fresh fetches a URL or a repository whatever the cache has of it.
	Fresh bool
	// Later lets a URL with a checksum and a commit be fetched when they are opened, if it is known what is read of
	// them: for who tells by Read what was read in the end.
	Later bool
	// Explain collects what files are read also where that costs something: see Inputs.List.
	Explain bool
	// Warn tells the caller something, and WarnOnce what the caller has not been told yet.
	Warn, WarnOnce func(text string)
}

// Layers gives the layers that files are in. Its methods may be called by many goroutines.
type Layers interface {
	// Stage is an open stage of the worker.
	Stage(id string) (Stage, error)
	// Image finds an image as Image says, pulled if need be, and gives its uppermost layer.
	Image(ctx context.Context, image Image) (*storage.Layer, error)
	// Fetch gives the layer that has what is fetched.
	Fetch(ctx context.Context, f Fetch) (*storage.Layer, error)
	// Remembered is the layer that Fetch has given for the content, here or where a cache comes from, if that is not in
	// the store: without files, for Known alone. It is nil where there is none, or where it is in the store.
	Remembered(ctx context.Context, f Fetch) *storage.Layer
	// View shows the files of a layer that is claimed.
	View(l *storage.Layer) (workspace.View, error)
	// Known is the digest that Learn was told, or "". Learn is told one that was read whole.
	Known(l *storage.Layer, what step.ReadKey) (digest string)
	Learn(l *storage.Layer, what step.ReadKey, digest string)
}

// Stage is a stage whose files are read.
type Stage interface {
	// Top is the layer that it has come to; nil is the empty root.
	Top() *storage.Layer
	// Claim gives that layer with its files, and keeps others from removing it until the stage goes on or is
	// closed.
	Claim(ctx context.Context) (*storage.Layer, error)
}

// Find finds what a source names. It fetches a URL, a repository or an image that the store does
// not have, which ends with ctx; of a directory, a stage or a stream it opens nothing yet. The
// Input must be closed.
func Find(ctx context.Context, env Env, src Source) (*Input, error) {
	if err := src.check(); err != nil {
		return nil, err
	}
	in := &Input{src: src, env: env}
	if src.Chmod != "" {
		mode, err := filecopy.ParseMode(src.Chmod)
		if err != nil {
			return nil, err
		}
		in.mode = &mode
	}
	var err error
	switch {
	case src.Dir != "":
		in.files = findDir(env, src.Dir)
	case src.Stream != nil:
		in.files, err = findStream(env, *src.Stream)
	case src.Stage != "":
		in.files, err = findStage(env, &in.src)
	case src.Image != nil:
		in.files, err = findImage(ctx, env, &in.src)
	case src.URL != nil:
		in.files, err = findURL(ctx, env, &in.src)
	case src.Git != nil:
		in.files, err = findGit(ctx, env, &in.src)
	}
	if err != nil {
		return nil, err
	}
	return in, nil
}

// Source is what names the input, with the Patterns that a URL has by itself.
func (in *Input) Source() Source { return in.src }

// Timed says that the times of the files are a part of what is read: where they say more than
// when oakum read them, being those of a server, a commit or an archive.
func (in *Input) Timed() bool { return in.src.timed() }

// KeepsDirs says that directories which are there already stay as they are when they are copied
// onto: those of a caller's own file system have what modes its type gives them.
func (in *Input) KeepsDirs() bool { return in.src.Stream != nil && !in.src.Stream.Foreign }

// Digest is that of what the Selection takes: names, types, modes, links, what files hold
// and the attributes that layers keep, owners if they are kept, and times if Timed says so. The
// same files from elsewhere have the same digest. It is what was learnt before where
// that cannot have changed; else the files are read, but for those of a directory of which it is
// known that they have not changed.
func (in *Input) Digest(ctx context.Context) (string, error) {
	if in.digest == "" {
		in.digest = in.files.known()
	}
	if in.digest != "" {
		return in.digest, nil
	}
	tree, err := in.Open(ctx)
	if err != nil {
		return "", err
	}
	if in.src.Dir != "" && !in.env.Call.Explain {
		tree.Listing = nil // it is digested for each build, and seldom has changed
	}
	digest, err := filecopy.Digest(ctx, tree)
	return digest, in.Read(digest, err)
}

// Read is told the digest that a walk of what Open gave has come to, or the error that it ended
// with. It gives the error that counts: when the files went away meanwhile, it is that.
func (in *Input) Read(digest string, err error) error {
	if err != nil {
		digest = ""
	}
	if gone := in.files.learn(digest); gone != nil {
		return errors.Join(gone, err)
	}
	in.digest = digest
	return err
}

// Root is the root directory, which belongs to the Input. It may be open as a mere path (O_PATH).
func (in *Input) Root(ctx context.Context) (*os.File, error) {
	if in.root == nil {
		root, err := in.files.open(ctx)
		if err != nil {
			return nil, err
		}
		in.root = root
	}
	return in.root, nil
}

// Open gives the root and what of it is taken. When that has been walked, tell it by Read. The
// owner of Chown is for the caller to look up. What of a directory belongs to the image store is
// set apart in the Tree: who goes over the files in another way has to leave it out, too.
func (in *Input) Open(ctx context.Context) (filecopy.Tree, error) {
	root, err := in.Root(ctx)
	if err != nil {
		return filecopy.Tree{}, err
	}
	tree := filecopy.Tree{Root: root, Selection: in.src.Selection, Mode: in.mode, Packed: in.src.Packed, Timed: in.Timed(), KeepDirs: in.KeepsDirs(), Top: in.src.top()}
	if !in.src.KeepsOwners() {
		tree.Owner = &filecopy.IDs{}
	}
	tree.Listing = in.listing()
	return tree, in.files.fill(&tree)
}

// OpenFile opens a regular file of the input, whatever the Selection is. Links of a layer lead to
// what is in it, as if its root were /; of a directory of this machine, where they mean
// something else, one that leads out is an error. The errors are those of foreign.Open.
func (in *Input) OpenFile(ctx context.Context, name string) (*os.File, error) {
	root, err := in.Root(ctx)
	if err != nil {
		return nil, err
	}
	if in.src.Dir != "" {
		return foreign.OpenBeneath(root, name)
	}
	return foreign.Open(root, name)
}

// OpenDir opens a directory of the input. Links lead to what is in it.
func (in *Input) OpenDir(ctx context.Context, name string) (*os.File, error) {
	root, err := in.Root(ctx)
	if err != nil {
		return nil, err
	}
	return foreign.OpenDirIn(root, name)
}

// Close undoes what was opened: it unmounts and removes what was unpacked, and lets go of the
// layer. What was fetched stays in the store. A file that was opened in the input must be
// closed before.
func (in *Input) Close() error { return in.files.close() }

// Inputs are those of one step, in their order.
type Inputs []*Input

// FindAll finds several; when one is not found, none is left open.
func FindAll(ctx context.Context, env Env, sources []Source) (Inputs, error) {
	var all Inputs
	for _, src := range sources {
		in, err := Find(ctx, env, src)
		if err != nil {
			return nil, errors.Join(err, all.Close())
		}
		all = append(all, in)
	}
	return all, nil
}

// Digest is that of all: of one, its own.
func (all Inputs) Digest(ctx context.Context) (string, error) {
	var digests []string
	for _, in := range all {
		digest, err := in.Digest(ctx)
		if err != nil {
			return "", err
		}
		digests = append(digests, digest)
	}
	return joined(digests), nil
}

func joined(digests []string) string {
	if len(digests) == 1 {
		return digests[0]
	}
	h := sha256.New()
	for _, d := range digests {
		fmt.Fprintln(h, d)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// Open opens all.
func (all Inputs) Open(ctx context.Context) ([]filecopy.Tree, error) {
	var trees []filecopy.Tree
	for _, in := range all {
		tree, err := in.Open(ctx)
		if err != nil {
			return nil, err
		}
		trees = append(trees, tree)
	}
	return trees, nil
}

// Read is told what a walk of all has come to, as Input.Read, and gives the digest of all.
func (all Inputs) Read(digests []string, err error) (string, error) {
	if len(digests) != len(all) {
		digests = make([]string, len(all)) // it has ended before
	}
	for i, in := range all {
		err = in.Read(digests[i], err)
	}
	if err != nil {
		return "", err
	}
	return joined(digests), nil
}

// Close closes all.
func (all Inputs) Close() error {
	var err error
	for _, in := range all {
		err = errors.Join(err, in.Close())
	}
	return err
}

// invalid is an error of what the caller names.
func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %w", limits.ErrInvalid, fmt.Errorf(format, args...))
}
