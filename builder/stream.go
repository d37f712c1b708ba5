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
	"time"

	"github.com/oakum-build/oakum/builder/internal/input"
	"github.com/oakum-build/oakum/builder/internal/protocol"
)

// streams carry file systems of this process to the worker.
type streams struct {
	after   int // how many other files of the call come first
	readers []*os.File
	foreign []*os.File // ends that we write to, of readers that may never return
	wg      sync.WaitGroup
	mu      sync.Mutex
	errs    []error
}

// openStreams fills in a Copy's sources.
func (b *Builder) openStreams(sources []Source, params *protocol.Copy) (*streams, error) {
	st := &streams{}
	total := 0
	for _, src := range sources {
		named, err := st.source(b, src)
		if err != nil {
			st.close()
			return nil, err
		}
		total += max(1, len(named.Patterns))
		params.Sources = append(params.Sources, named)
	}
	params.Dir = params.Dir || total > 1
	return st, nil
}

// source names a source to the worker.
func (st *streams) source(b *Builder, src Source) (named input.Source, err error) {
	if src.err != nil {
		return named, src.err
	}
	if src.under != "" {
		return named, fmt.Errorf("%w: Under says nothing of a source that is not exported", ErrInvalid)
	}
	named = src.taken
	switch src.kind {
	case dirSource:
		named.Dir, err = filepath.Abs(src.dir)
	case fsSource:
		named.Stream, err = st.add(func(w io.Writer) error { return writeTar(w, src.fsys) })
	case bytesSource:
		if !isFileName(src.name) {
			return named, fmt.Errorf("%w: %s: that is no name of a file", ErrInvalid, src.label())
		}
		named.Patterns = []string{literal.Replace(src.name)}
		named.Stream, err = st.add(func(w io.Writer) error { return writeFile(w, src.name, src.data) })
	case tarSource:
		named.Stream, err = st.addTar(src.tar)
	case stageSource:
		named.Stage, err = src.stage.source(b)
	case imageSource:
		named.Image, err = b.image(src.image.ref, StageOptions{Pull: src.image.pull, Platform: src.image.platform})
	case urlSource:
		named.URL, named.Packed = &src.url, !src.unpack
	case gitSource:
		named.Git, named.Packed = &src.git, true
	default:
		err = fmt.Errorf("%w: an empty Source", ErrInvalid)
	}
	return named, err
}

// literal makes a pattern that matches a name alone.
var literal = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)

func isFileName(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\x00")
}

// pipe makes a stream to the worker, and gives the end that we write to.
func (st *streams) pipe(foreign bool) (*os.File, *input.Stream, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	st.readers, st.foreign = append(st.readers, r), append(st.foreign, w)
	return w, &input.Stream{File: st.after + len(st.readers), Foreign: foreign}, nil
}

// add sends a tar of our own.
func (st *streams) add(write func(io.Writer) error) (*input.Stream, error) {
	w, named, err := st.pipe(false)
	if err != nil {
		return nil, err
	}
	st.wg.Go(func() {
		err := errors.Join(write(w), w.Close())
		// The worker may not have to read it all, or to the end; and see abort.
		if err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, os.ErrClosed) {
			st.fail(err)
		}
	})
	return named, nil
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

// writeFile writes a tar of one file, whose time is 1970 so that the same bytes make the same
// layer.
func writeFile(w io.Writer, name string, data []byte) error {
	tw := tar.NewWriter(w)
	hdr := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(data)), Mode: 0o644, ModTime: time.Unix(0, 0)}
	if err := tw.WriteHeader(hdr); err != nil {
		return err
	}
	if _, err := tw.Write(data); err != nil {
		return err
	}
	return tw.Close()
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

// addTar sends a foreign stream to the worker.
func (st *streams) addTar(from io.Reader) (*input.Stream, error) {
	w, named, err := st.pipe(true)
	if err != nil {
		return nil, err
	}
	go func() { // nobody waits for it
		defer w.Close()
		if _, err := io.Copy(w, readOnly{from}); err != nil && !errors.Is(err, os.ErrClosed) {
			var broken *os.PathError
			if errors.As(err, &broken) && broken.Path == w.Name() {
				return // the worker has read enough
			}
			st.fail(fmt.Errorf("reading the archive: %w", err))
			// The worker would take the end of an entry for that of the archive.
			_, _ = w.Write(bytes.Repeat([]byte{0xff}, 1024))
		}
	}()
	return named, nil
}

// abort ends the streams that may never end by themselves.
func (st *streams) abort() {
	for _, w := range st.foreign {
		w.Close()
	}
}

// readOnly hides what else a reader can do, so that io.Copy tells reading from writing.
type readOnly struct{ io.Reader }
