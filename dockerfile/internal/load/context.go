package load

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/foreign"
	"github.com/oakum-build/oakum/builder/limits"
	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// A context that is not a directory of this machine is fetched or unpacked into a stage,
// which COPY and ADD then copy from, as from any other.

// headLength is how many bytes of a stream are looked at to know what it is.
const headLength = 512

// fetched is the name, in the root of a stage, of a context that is one file.
const fetched = "context"

// context opens the build context. A stream that is no archive is the Dockerfile.
func (l Loader) context(ctx context.Context, from Context, file *File) (Tree, error) {
	switch {
	case from.Stream != nil:
		r := bufio.NewReaderSize(from.Stream, headLength)
		head, err := foreign.Await(ctx, func() ([]byte, error) { return r.Peek(headLength) })
		if err != nil && !errors.Is(err, io.EOF) {
			return Tree{}, fmt.Errorf("reading the build context: %w", err)
		}
		if !isArchive(head) {
			file.Text = r
			return Tree{builder: l.Builder}, nil
		}
		return l.into(ctx, builder.CopyOptions{}, "/", builder.Tar(r))
	case from.URL != "":
		place, err := remotePlace(from.URL)
		if err != nil {
			return Tree{}, err
		}
		return l.fetch(ctx, place, l.asContext)
	case from.Dir != "":
		info, err := os.Stat(from.Dir)
		if err == nil && !info.IsDir() {
			err = fmt.Errorf("%s is not a directory", from.Dir)
		}
		if err != nil {
			return Tree{}, fmt.Errorf("build context: %w", err)
		}
	}
	return Tree{builder: l.Builder, Dir: from.Dir}, nil
}

// Named opens a named context that is no image: a directory, or what is fetched.
func (l Loader) Named(ctx context.Context, place Place) (Tree, error) {
	if place.Remote != "" {
		return l.fetch(ctx, place, nil)
	}
	t := Tree{builder: l.Builder, Dir: place.Dir}
	var err error
	_, t.Ignore, err = t.ignore(ctx, ".containerignore", ".dockerignore")
	return t, err
}

// Stage makes a stage of a tree's files, without those that are ignored, and tells of the copying. The stage of a tree
// that was fetched is closed.
func (l Loader) Stage(ctx context.Context, t Tree, opts builder.StageOptions) (*builder.Stage, builder.Step, error) {
	if t.stage != nil {
		s, err := t.stage.Fork(ctx, opts)
		return s, builder.Step{}, errors.Join(err, t.Close())
	}
	return l.copied(ctx, opts, builder.CopyOptions{}, "/", t.Files("."))
}

// fetch makes a tree of what a remote place has: the files of a repository, which change may
// say more about, those of an archive, or the file "context" if it is none.
func (l Loader) fetch(ctx context.Context, place Place, change func(builder.Source) builder.Source) (Tree, error) {
	from, err := l.Remote(ctx, place.Remote)
	if err != nil {
		return Tree{}, err
	}
	if place.Git {
		if change != nil {
			from = change(from)
		}
		return l.into(ctx, builder.CopyOptions{}, "/", from)
	}
	file, err := l.into(ctx, builder.CopyOptions{}, "/"+fetched, from)
	if err != nil {
		return Tree{}, err
	}
	t, isArchive, err := l.unpacked(ctx, file)
	if !isArchive && err == nil {
		file.only = plan.Redact(place.Remote)
		return file, nil
	}
	return t, errors.Join(err, file.Close())
}

// unpacked makes a tree of what the file "context" of another holds, if that is an archive.
func (l Loader) unpacked(ctx context.Context, file Tree) (t Tree, archive bool, err error) {
	head, err := file.stage.ReadFile(ctx, fetched, headLength)
	if err != nil || !isArchive(head) {
		return Tree{}, false, err
	}
	t, err = l.into(ctx, builder.CopyOptions{Unpack: true}, "/", file.stage.Path(fetched))
	return t, true, err
}

// download gives the text of a Dockerfile of the web.
func (l Loader) download(ctx context.Context, url string) ([]byte, error) {
	from, err := l.Remote(ctx, url)
	if err != nil {
		return nil, err
	}
	t, err := l.into(ctx, builder.CopyOptions{}, "/"+fetched, from)
	if err != nil {
		return nil, err
	}
	text, err := t.read(ctx, fetched, limits.MaxDockerfile)
	return text, errors.Join(err, t.Close())
}

// into makes a tree of a source's files in a stage of their own.
func (l Loader) into(ctx context.Context, opts builder.CopyOptions, dest string, from builder.Source) (Tree, error) {
	s, _, err := l.copied(ctx, builder.StageOptions{Name: "context"}, opts, dest, from)
	if err != nil {
		return Tree{}, err
	}
	return Tree{builder: l.Builder, stage: s}, nil
}

// copied makes a stage of a source's files.
func (l Loader) copied(ctx context.Context, stage builder.StageOptions, opts builder.CopyOptions, dest string, from builder.Source) (*builder.Stage, builder.Step, error) {
	b, err := l.Builder(ctx)
	if err != nil {
		return nil, builder.Step{}, err
	}
	s, err := b.Stage(ctx, builder.Scratch, stage)
	if err != nil {
		return nil, builder.Step{}, err
	}
	opts.History = "context"
	did, err := s.CopyWith(ctx, opts, dest, from)
	if err != nil {
		return nil, builder.Step{}, errors.Join(fmt.Errorf("build context: %w", err), s.Close())
	}
	return s, did, nil
}

// Time is that of what a remote place has: of a repository that of its commit, of a file of
// the web that of its Last-Modified, and of other archives that of their latest file. Others
// have none. The checksum is that of the Source, or "".
func (l Loader) Time(ctx context.Context, place Place, checksum string) (*time.Time, error) {
	from, err := l.Remote(ctx, place.Remote)
	if err != nil {
		return nil, err
	}
	from, dest := from.Checksum(checksum), "/"+fetched
	if place.Git {
		from, dest = from.CommitTimes(), "/"
	}
	t, err := l.into(ctx, builder.CopyOptions{}, dest, from)
	if err != nil {
		return nil, err
	}
	at, err := t.Latest(ctx)
	if at == nil && err == nil && !place.Git {
		at, err = l.archiveTime(ctx, t)
	}
	return at, errors.Join(err, t.Close())
}

// archiveTime is that of the latest file of an archive.
func (l Loader) archiveTime(ctx context.Context, file Tree) (*time.Time, error) {
	t, isArchive, err := l.unpacked(ctx, file)
	if !isArchive || err != nil {
		return nil, err
	}
	at, err := t.Latest(ctx)
	return at, errors.Join(err, t.Close())
}

// isArchive tells a tar archive, compressed or not, from a Dockerfile by its start.
func isArchive(head []byte) bool {
	for _, magic := range []string{"\x1f\x8b\x08", "BZh", "\xfd7zXZ\x00", "\x28\xb5\x2f\xfd"} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return true
		}
	}
	if len(head) < headLength {
		return false
	}
	_, err := tar.NewReader(bytes.NewReader(head)).Next()
	return err == nil || len(bytes.Trim(head, "\x00")) == 0
}
