//go:build linux

package builder

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/oakum-build/oakum/builder/internal/worker"
)

// Source is something to copy from: files, with the way they are taken. The
// methods return changed copies, so that they chain:
//
//	builder.Dir(".").Select("*.go", "go.mod").Ignore("*_test.go").Chown("app")
type Source struct {
	dir      string
	fsys     fs.FS
	stage    *Stage
	remote   worker.Remote
	tar      io.Reader
	unpack   bool // of a file from a URL
	patterns []string
	parents  bool
	ignore   []string
	exclude  []string
	rooted   bool
	chown    string
	chmod    string
}

// Dir is a directory of this machine. Copied files belong to root unless Chown says
// otherwise. Nothing outside the directory is read, whatever links point there.
func Dir(path string) Source { return Source{dir: path} }

// FS is a file system such as an embed.FS. Files belong to root.
func FS(fsys fs.FS) Source { return Source{fsys: fsys} }

// Select takes only what the patterns name, relative to the source's root, as
// COPY's sources do: path.Match within each component; a directory means its
// contents. Without Select the whole source is taken.
func (s Source) Select(patterns ...string) Source { s.patterns = patterns; return s }

// Parents keeps the directories that a pattern names above its files, as COPY --parents
// does: those after the first "/./", or all. "**" is then any number of components.
func (s Source) Parents() Source { s.parents = true; return s }

// Ignore leaves out what .dockerignore patterns match, as if it were not there
// (Dockerfile reference, .dockerignore file).
func (s Source) Ignore(patterns ...string) Source { s.ignore = patterns; return s }

// Exclude leaves out what the patterns of COPY --exclude match.
func (s Source) Exclude(patterns ...string) Source { s.exclude = patterns; return s }

// OwnedByRoot takes a stage's files as those of a directory: they belong to root unless
// Chown says otherwise.
func (s Source) OwnedByRoot() Source { s.rooted = true; return s }

// Chown sets the owner of everything copied: user[:group], names looked up in the
// stage copied into.
func (s Source) Chown(owner string) Source { s.chown = owner; return s }

// Chmod sets the mode of everything copied: octal, or symbolic as in chmod(1), such as
// "u=rwX,go=rX", which changes the mode of each file.
func (s Source) Chmod(mode string) Source { s.chmod = mode; return s }

func describeSources(sources []Source) string {
	var words []string
	for _, s := range sources {
		if s.remote != (worker.Remote{}) {
			words = append(words, s.remoteName())
		} else if len(s.patterns) == 0 {
			words = append(words, ".")
		}
		words = append(words, s.patterns...)
	}
	return strings.Join(words, " ")
}

// streams carry file systems of this process to the worker.
type streams struct {
	readers []*os.File
	foreign []*os.File // ends that we write to, of readers that may never return
	wg      sync.WaitGroup
	mu      sync.Mutex
	errs    []error
}

// openStreams fills in a Copy's sources.
func (b *Builder) openStreams(sources []Source, params *worker.Copy) (*streams, error) {
	st := &streams{}
	total := 0
	for _, src := range sources {
		w, err := st.source(b, src)
		if err != nil {
			st.close()
			return nil, err
		}
		total += max(1, len(src.patterns))
		params.Sources = append(params.Sources, w)
	}
	params.Dir = params.Dir || total > 1
	return st, nil
}

func (st *streams) source(b *Builder, src Source) (worker.CopySource, error) {
	w := worker.CopySource{Patterns: src.patterns, Parents: src.parents, Ignore: src.ignore, Exclude: src.exclude, Rooted: src.rooted, Chown: src.chown, Chmod: src.chmod}
	switch {
	case src.stage != nil && src.stage.b != b:
		return w, fmt.Errorf("%w: a stage of another Builder", ErrInvalid)
	case src.stage != nil && src.stage.closed:
		return w, ErrClosed
	case src.stage != nil:
		w.Stage = src.stage.id
	case src.fsys != nil:
		if err := st.add(src.fsys); err != nil {
			return w, err
		}
		w.File = len(st.readers)
	case src.remote != (worker.Remote{}):
		w.Remote, w.Packed = &src.remote, !src.unpack
	case src.tar != nil:
		if err := st.addTar(src.tar); err != nil {
			return w, err
		}
		w.File, w.Tar, w.Timed = len(st.readers), true, true
	case src.dir != "":
		dir, err := filepath.Abs(src.dir)
		if err != nil {
			return w, err
		}
		w.Dir = dir
	default:
		return w, fmt.Errorf("%w: an empty Source", ErrInvalid)
	}
	return w, nil
}

func (st *streams) add(fsys fs.FS) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	st.readers, st.foreign = append(st.readers, r), append(st.foreign, w)
	st.wg.Go(func() {
		err := errors.Join(writeTar(w, fsys), w.Close())
		// The worker may not have to read it all, or to the end; and see abort.
		if err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, os.ErrClosed) {
			st.fail(err)
		}
	})
	return nil
}

func (st *streams) fail(err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.errs = append(st.errs, err)
}

func (st *streams) files() []*os.File { return st.readers }

func (st *streams) close() {
	for _, r := range st.readers {
		r.Close()
	}
}

// wait closes our ends, so that the writers end, and gives their errors. A writer whose
// file system is stuck is not waited for once ctx has ended.
func (st *streams) wait(ctx context.Context) error {
	st.close()
	done := make(chan struct{})
	go func() {
		st.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		return ctx.Err()
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	return errors.Join(st.errs...)
}

// writeTar writes a file system's directories, regular files and links as a tar.
func writeTar(w io.Writer, fsys fs.FS) error {
	tw := tar.NewWriter(w)
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return writeEntry(tw, fsys, name, info)
	})
	if err == nil {
		return tw.Close()
	}
	// Between two entries the worker would take the end for the whole; within one it
	// misses the rest.
	if tw.Flush() == nil {
		_, _ = w.Write(bytes.Repeat([]byte{0xff}, 512))
	}
	return err
}

func writeEntry(tw *tar.Writer, fsys fs.FS, name string, info fs.FileInfo) error {
	link := ""
	switch info.Mode().Type() {
	case 0, fs.ModeDir:
	case fs.ModeSymlink:
		var err error
		if link, err = fs.ReadLink(fsys, name); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%w: %s is a special file", ErrInvalid, name)
	}
	hdr, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	hdr.Name, hdr.Uid, hdr.Gid, hdr.Uname, hdr.Gname = name, 0, 0, "", ""
	if err := tw.WriteHeader(hdr); err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return nil
	}
	f, err := fsys.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(tw, f)
	return err
}
