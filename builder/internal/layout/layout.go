//go:build linux

// Package layout looks at archives and layouts of images before containers/image reads
// them, which opens files by their paths, waits for pipes, and reads indexes and manifests
// whole.
package layout

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"sync"

	digest "github.com/opencontainers/go-digest"
	"go.podman.io/storage/pkg/archive"

	"github.com/oakum-build/oakum/builder/foreign"
	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/builder/limits"
)

const (
	// maxFiles bounds the files of a layout or archive that are looked at.
	maxFiles = 100_000
	// keptFile and keptTotal bound what is kept of an archive's files to look at, in bytes.
	keptFile  = 256 << 10
	keptTotal = 32 << 20
)

// files are those of a layout (OCI image layout specification, "image-layout.md").
type files struct {
	stat func(name string) (fs.FileInfo, error)
	read func(name string) ([]byte, error) // nil for what is not known
	seen map[string]bool
}

// Check checks that all files of an OCI layout that are read for its images are regular,
// and that those that are read whole are small. Files that are missing are left to whoever
// reads them.
func Check(fsys fs.FS) error {
	f := files{
		stat: func(name string) (fs.FileInfo, error) { return fs.Stat(fsys, name) },
		read: func(name string) ([]byte, error) { return fs.ReadFile(fsys, name) },
		seen: map[string]bool{},
	}
	return f.document("index.json")
}

// CheckFlat is Check for a directory of the transport dir, which has no directories in it, and no
// links unless stat follows them.
func CheckFlat(fsys fs.FS, stat func(fs.FS, string) (fs.FileInfo, error)) error {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := stat(fsys, e.Name())
		switch {
		case err != nil:
			return err
		case !info.Mode().IsRegular():
			return fmt.Errorf("%s: %w", e.Name(), foreign.ErrSpecial)
		case !blobName().MatchString(e.Name()) && info.Size() > limits.MaxJSON:
			return &limits.LimitError{Name: e.Name(), Limit: limits.MaxJSON, Unit: "bytes"}
		}
	}
	return nil
}

// blobName is that of a layer or configuration, which is not read whole.
var blobName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^([a-z0-9]+-)?[0-9a-f]{32,}$`)
})

// document looks at an index or a manifest, and at what it names.
func (f files) document(name string) error {
	if f.seen[name] {
		return nil
	}
	if f.seen[name] = true; len(f.seen) > maxFiles {
		return &limits.LimitError{What: "the number of files of the image", Limit: maxFiles, Unit: "files"}
	}
	info, err := f.regular(name)
	if info == nil {
		return err
	}
	if info.Size() > limits.MaxJSON {
		return &limits.LimitError{Name: name, Limit: limits.MaxJSON, Unit: "bytes"}
	}
	text, err := f.read(name)
	if err != nil {
		return err
	}
	var doc struct {
		Manifests []struct{ Digest digest.Digest }
		Config    struct{ Digest digest.Digest }
		Layers    []struct{ Digest digest.Digest }
	}
	if json.Unmarshal(text, &doc) != nil {
		return nil // for whoever reads it to say
	}
	for _, m := range doc.Manifests {
		if m.Digest.Validate() == nil {
			if err := f.document(blob(m.Digest)); err != nil {
				return err
			}
		}
	}
	for _, l := range append(doc.Layers, doc.Config) {
		if l.Digest.Validate() == nil {
			if _, err := f.regular(blob(l.Digest)); err != nil {
				return err
			}
		}
	}
	return nil
}

func blob(d digest.Digest) string { return path.Join("blobs", string(d.Algorithm()), d.Encoded()) }

// regular gives the size and kind of a file, or nil for one that is not there.
func (f files) regular(name string) (fs.FileInfo, error) {
	info, err := f.stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s: %w", name, foreign.ErrSpecial)
	}
	return info, nil
}

// CheckArchive is Check for a layout in a tar archive, compressed or not.
func CheckArchive(ctx context.Context, f io.ReadSeeker) error {
	head := make([]byte, 16)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	var r io.Reader = f // which the tar reader can skip in
	if archive.DetectCompression(head[:n]) != archive.Uncompressed {
		plain, err := archive.DecompressStream(filecopy.Reader(ctx, f))
		if err != nil {
			return err
		}
		defer plain.Close()
		r = plain
	}
	return checkTar(ctx, tar.NewReader(r))
}

func checkTar(ctx context.Context, in *tar.Reader) error {
	infos, texts, kept := map[string]fs.FileInfo{}, map[string][]byte{}, int64(0)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("reading the archive: %w", err)
		}
		name := path.Clean(h.Name)
		if infos[name] = h.FileInfo(); len(infos) > maxFiles {
			return &limits.LimitError{What: "the number of files of the archive", Limit: maxFiles, Unit: "files"}
		}
		delete(texts, name)
		if h.Size > keptFile || kept+h.Size > keptTotal {
			continue
		}
		if texts[name], err = io.ReadAll(io.LimitReader(in, keptFile)); err != nil {
			return fmt.Errorf("reading the archive: %w", err)
		}
		kept += h.Size
	}
	files := files{
		stat: func(name string) (fs.FileInfo, error) {
			if info, ok := infos[name]; ok {
				return info, nil
			}
			return nil, fs.ErrNotExist
		},
		read: func(name string) ([]byte, error) { return texts[name], nil },
		seen: map[string]bool{},
	}
	return files.document("index.json")
}
