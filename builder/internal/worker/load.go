//go:build linux

package worker

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"sync"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	cs "go.podman.io/storage/pkg/archive"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/builder/internal/layout"
	"github.com/oakum-build/oakum/builder/internal/protocol/outgoing"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/storage"
)

func (w *worker) save(ctx context.Context, call *wire.Call, p outgoing.Save) ([]imgspec.Descriptor, error) {
	if len(call.Files) == 0 {
		return nil, fmt.Errorf("%w: there is no file to write to", errdefs.ErrInvalid)
	}
	defer w.memory.moving()()
	return w.store.Save(ctx, call.Files[0], p.Images, p.Options, w.access(call, p.Access))
}

// load reads the images of an archive, which comes from anywhere.
func (w *worker) load(ctx context.Context, call *wire.Call, p outgoing.Load) (images []storage.Image, err error) {
	if len(call.Files) == 0 {
		return nil, fmt.Errorf("%w: there is no file to read", errdefs.ErrInvalid)
	}
	defer w.memory.moving()()
	in := call.Files[0]
	info, err := in.Stat()
	if err != nil {
		return nil, err
	}
	scratch, remove, err := w.store.ScratchDir("load-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	if !info.IsDir() {
		if in, err = plainFile(ctx, in, info, scratch); err != nil {
			return nil, err
		}
		defer in.Close()
		kind, err := archiveKind(ctx, in)
		if err != nil {
			return nil, err
		}
		if kind == dockerArchive {
			return w.store.LoadDocker(ctx, procPath(in), w.access(call, p.Access))
		}
		if in, err = unpackLayout(ctx, in, scratch); err != nil {
			return nil, err
		}
		defer in.Close()
	}
	// By descriptor, since a path may have a colon, which ends it in a reference.
	if err := layout.Check(os.DirFS(procPath(in))); err != nil {
		return nil, fmt.Errorf("%w: %w", errdefs.ErrInvalid, err)
	}
	return w.store.LoadLayout(ctx, procPath(in), p.Platform, w.access(call, p.Access))
}

func procPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// plainFile gives a regular file that is not compressed: in itself, or what it holds in a file of our own.
func plainFile(ctx context.Context, in *os.File, info os.FileInfo, scratch string) (*os.File, error) {
	if info.Mode().IsRegular() {
		head := make([]byte, 16)
		if n, err := in.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		} else if cs.DetectCompression(head[:n]) == cs.Uncompressed {
			return os.Open(procPath(in)) // with a place of its own, from the start
		}
	}
	plain, err := filecopy.Decompress(filecopy.Reader(ctx, in))
	if err != nil {
		return nil, fmt.Errorf("%w: reading the archive: %w", errdefs.ErrInvalid, err)
	}
	defer plain.Close()
	out, err := os.OpenFile(filepath.Join(scratch, "archive"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	from := &compressed{Reader: plain}
	if _, err = io.Copy(out, from); err == nil {
		_, err = out.Seek(0, io.SeekStart)
	}
	if from.failed && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", errdefs.ErrInvalid, err)
	}
	if err != nil {
		out.Close()
		return nil, fmt.Errorf("reading the archive: %w", err)
	}
	return out, nil
}

// compressed notes whether it is the reading that failed.
type compressed struct {
	io.Reader
	failed bool
}

func (c *compressed) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.failed = c.failed || err != nil && err != io.EOF
	return n, err
}

// The kinds of archives.
const (
	dockerArchive = "docker"
	ociArchive    = "oci"
)

// archiveKind tells what kind an archive is. One of docker save may be of both; a layout keeps the
// digests of its images.
func archiveKind(ctx context.Context, in *os.File) (string, error) {
	defer func() { _, _ = in.Seek(0, io.SeekStart) }()
	found := map[string]bool{}
	for r := tar.NewReader(in); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return "", fmt.Errorf("%w: reading the archive: %w", errdefs.ErrInvalid, err)
		}
		if name := path.Clean(h.Name); name == imgspec.ImageLayoutFile || name == "index.json" || name == "manifest.json" {
			found[name] = true
		}
		if found[imgspec.ImageLayoutFile] && found["index.json"] {
			return ociArchive, nil
		}
	}
	if found["manifest.json"] {
		return dockerArchive, nil
	}
	return "", fmt.Errorf("%w: it is no archive of images: it has neither oci-layout and index.json nor manifest.json at its top; files are taken by ADD to an image FROM scratch", errdefs.ErrInvalid)
}

// inLayout matches the files that a layout has (OCI image layout specification).
var inLayout = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(oci-layout|index\.json|blobs/[a-z0-9]+([+._-][a-z0-9]+)*/[a-zA-Z0-9=_-]+)$`)
})

// unpackLayout unpacks an archive's layout, and nothing else, into a directory.
func unpackLayout(ctx context.Context, in *os.File, scratch string) (_ *os.File, err error) {
	if err := layout.CheckArchive(ctx, in); err != nil {
		return nil, fmt.Errorf("%w: %w", errdefs.ErrInvalid, err)
	}
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	dir := filepath.Join(scratch, "layout")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	for r := tar.NewReader(filecopy.Reader(ctx, in)); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: reading the archive: %w", errdefs.ErrInvalid, err)
		}
		name := path.Clean(h.Name)
		if h.Typeflag != tar.TypeReg || !inLayout().MatchString(name) {
			continue
		}
		if err := unpackFile(root, name, r); err != nil {
			return nil, err
		}
	}
	return root.Open(".")
}

// unpackFile writes one file of a layout. Of two with a name the last counts.
func unpackFile(root *os.Root, name string, content io.Reader) error {
	err := root.MkdirAll(path.Dir(name), 0o700)
	var f *os.File
	if err == nil {
		f, err = root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	}
	if errors.Is(err, unix.ENAMETOOLONG) {
		return fmt.Errorf("%w: %w", errdefs.ErrInvalid, err)
	}
	if err != nil {
		return err
	}
	if _, err = io.Copy(f, content); err != nil {
		err = fmt.Errorf("unpacking %s: %w", name, err)
	}
	return errors.Join(err, f.Close())
}
