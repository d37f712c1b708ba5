package baseimage

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// layer makes an image layer of what write writes; write must write the same each time.
func layer(write func(*tar.Writer) error) (v1.Layer, error) {
	open := func() (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() {
			tw := tar.NewWriter(w)
			w.CloseWithError(errors.Join(write(tw), tw.Close()))
		}()
		return r, nil
	}
	return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer),
		tarball.WithCompressionLevel(gzip.BestSpeed), tarball.WithCompressedCaching)
}

// putDir writes a directory entry of root's.
func putDir(tw *tar.Writer, name string, mode int64) error {
	return tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode, ModTime: created})
}

// putFile writes a regular file of root's.
func putFile(tw *tar.Writer, name string, mode int64, content []byte) error {
	header := tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content)), ModTime: created}
	if err := tw.WriteHeader(&header); err != nil {
		return err
	}
	_, err := tw.Write(content)
	return err
}

// putTree writes the tree under dir below the name to, as root's and without its
// own modification times. Top-level directories named in skip are left out.
func putTree(tw *tar.Writer, dir, to string, skip ...string) error {
	return filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		if entry.IsDir() && slices.Contains(skip, rel) {
			return fs.SkipDir
		}
		return putEntry(tw, file, path.Join(to, filepath.ToSlash(rel)), entry)
	})
}

func putEntry(tw *tar.Writer, file, name string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if err != nil {
		return err
	}
	switch info.Mode().Type() {
	case fs.ModeDir:
		return putDir(tw, name, 0o755)
	case fs.ModeSymlink:
		target, err := os.Readlink(file)
		if err != nil {
			return err
		}
		return tw.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777, ModTime: created})
	case 0:
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		// Only the executable bit is the tree's own; the rest is the host's umask.
		return putFile(tw, name, int64(info.Mode().Perm()&0o111|0o644), content)
	default:
		return fmt.Errorf("%s: neither file, directory nor link", file)
	}
}

// putTar writes the entries of the tar file at name, without the contents of /dev:
// device nodes cannot be unpacked without root, and published images have none.
func putTar(tw *tar.Writer, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	for tr := tar.NewReader(f); ; {
		header, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		header.Name = strings.TrimPrefix(header.Name, "./")
		if header.Name == "" || strings.HasPrefix(header.Name, "dev/") && header.Name != "dev/" {
			continue
		}
		if header.Typeflag == tar.TypeLink {
			header.Linkname = strings.TrimPrefix(header.Linkname, "./")
		}
		header.Uname, header.Gname = "", ""
		if err := tw.WriteHeader(header); err != nil {
			return err
		}
		if _, err := io.Copy(tw, tr); err != nil {
			return err
		}
	}
}
