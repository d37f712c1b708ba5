package buildertest

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/builder/internal/protocol/outgoing"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/storage"
)

// export writes a tar of what parts take.
func (s *server) export(_ context.Context, call *wire.Call, q outgoing.Export) (none wire.None, err error) {
	if len(call.Files) == 0 {
		return none, fmt.Errorf("%w: there is no file to write to", errdefs.ErrInvalid)
	}
	out, from := tree{}, map[string]int{}
	for i, part := range q.Parts {
		all, err := s.take(call, part.From)
		if err != nil {
			return none, err
		}
		p := placing{dest: path.Clean("/" + part.Under), dir: true}
		if p.owner, err = out.owner(part.From.Chown); err != nil {
			return none, err
		}
		if part.From.Chmod != "" {
			mode, err := filecopy.ParseMode(part.From.Chmod)
			if err != nil {
				return none, fmt.Errorf("%w: %w", errdefs.ErrInvalid, err)
			}
			p.mode = &mode
		}
		for _, one := range all {
			name := path.Join(clean(p.dest), one.name)
			if earlier, has := from[name]; has && earlier != i && !(one.file.mode.IsDir() && out.isDir(name)) {
				return none, fmt.Errorf("%w: %s is in what is written of %s and of %s", errdefs.ErrInvalid, name, q.Parts[earlier].Label, part.Label)
			}
			from[name] = i
		}
		if _, err := out.makeDirs(p.dest, file{time: now()}); err != nil {
			return none, err
		}
		if err := out.place(all, p); err != nil {
			return none, err
		}
	}
	return none, out.write(call.Files[0])
}

// write writes the tree as a tar archive.
func (t tree) write(to io.Writer) error {
	w := tar.NewWriter(to)
	for _, name := range sorted(t) {
		f := t[name]
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: int64(f.mode.Perm()), Uid: f.uid, Gid: f.gid, ModTime: f.time.Truncate(1e9), Format: tar.FormatPAX}
		switch f.mode.Type() {
		case fs.ModeDir:
			h.Typeflag, h.Name = tar.TypeDir, name+"/"
		case fs.ModeSymlink:
			h.Typeflag, h.Linkname = tar.TypeSymlink, f.link
		default:
			h.Size = int64(len(f.data))
		}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if _, err := w.Write(f.data); err != nil {
			return err
		}
	}
	return w.Close()
}

// save and load are of archives, which are not reached.
func (s *server) save(context.Context, *wire.Call, outgoing.Save) ([]imgspec.Descriptor, error) {
	return nil, fmt.Errorf("buildertest writes no archives: %w", errors.ErrUnsupported)
}

func (s *server) load(context.Context, *wire.Call, outgoing.Load) ([]storage.Image, error) {
	return nil, fmt.Errorf("buildertest reads no archives: %w", errors.ErrUnsupported)
}
