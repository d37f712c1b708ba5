package builder

import (
	"cmp"
	"context"
	"io"
	"os"

	"github.com/oakum-build/oakum/builder/internal/protocol/outgoing"
	"github.com/oakum-build/oakum/builder/internal/wire"
)

// Export writes files to w as one tar archive, uncompressed: with the owners, modes, links, devices
// and attributes that they have, sorted by name, times in whole seconds, so that the same files
// give the same bytes. They are taken as Copy takes them, those of ImageFiles and Stage.Path with all layers
// in one. Of several sources two may have a directory, but no other file; that is an error that
// matches ErrInvalid. A file that is not there is one that matches ErrNotFound.
//
// What has been written when Export fails is no whole archive. When ctx ends, Export returns without
// waiting for a w that is stuck.
func (b *Builder) Export(ctx context.Context, w io.Writer, files ...Source) error {
	return b.export(ctx, outgoing.Export{}, files, copyTo(w))
}

// copyTo reads a stream into w.
func copyTo(w io.Writer) func(io.Reader) error {
	return func(r io.Reader) error {
		_, err := io.Copy(w, readOnly{r})
		return err
	}
}

// export asks for a tar and has read take it, to the end or to an error.
func (b *Builder) export(ctx context.Context, ask outgoing.Export, files []Source, read func(io.Reader) error) (err error) {
	st := &streams{after: 1}
	defer st.close()
	for _, src := range files {
		under := src.under
		src.under = ""
		from, err := st.source(b, src)
		if err != nil {
			return err
		}
		label := cmp.Or(under, src.label())
		if src.image.platform != "" {
			label += " for " + src.image.platform
		}
		ask.Parts = append(ask.Parts, outgoing.Part{Under: under, Label: label, From: from})
	}
	return b.received(ctx, func(ctx context.Context, out *os.File) error {
		defer context.AfterFunc(ctx, st.abort)()
		_, err := callWith(ctx, b, nil, ask, wire.With{Files: append([]*os.File{out}, st.files()...)})
		if failed := st.wait(ctx); err == nil {
			err = failed
		}
		return err
	}, read)
}

// received does a call that writes to a file, and has read take what comes, to the end or to an error.
func (b *Builder) received(ctx context.Context, call func(ctx context.Context, out *os.File) error, read func(io.Reader) error) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	widen(w)
	defer r.Close()
	defer w.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// A worker that writes ends when nobody reads, also when who reads is stuck.
	defer context.AfterFunc(ctx, func() { r.Close() })()
	done := make(chan error, 1)
	go func() {
		err := read(r)
		if err != nil {
			cancel(err)
		}
		done <- err
	}()
	err = call(ctx, w)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause // of the reader, if that ended it
	}
	w.Close() // the end for who reads
	select {
	case failed := <-done:
		return cmp.Or(err, failed)
	case <-ctx.Done(): // a reader that is stuck is not waited for
		return cmp.Or(err, context.Cause(ctx))
	}
}

// ExportDir writes files into the directory dir of this machine, which it makes when it is not
// there. They belong to the user whose process this is, and have the modes and times of the
// originals, but no set-id bits; device nodes are left out, with an event.Warning. Links are made and
// not followed, neither those that come nor those that are in dir, though dir itself may be one.
// What else is in dir stays: a file takes the place of another, and a directory adds to another, which keeps its
// mode. A file in place of a directory that has files is an error that matches ErrInvalid.
//
// Nothing in dir is changed before all files are there, beside it: a call that fails or is ended
// before leaves dir as it was. Of each file dir has the old one or the new one, whole. Where no
// worker can run it is an error that matches errors.ErrUnsupported.
func (b *Builder) ExportDir(ctx context.Context, dir string, files ...Source) error {
	return b.exportDir(ctx, dir, false, files)
}

// ReplaceDir is ExportDir, but dir has nothing else afterwards: all that is not written is
// removed, once all that is written is there.
func (b *Builder) ReplaceDir(ctx context.Context, dir string, files ...Source) error {
	return b.exportDir(ctx, dir, true, files)
}

func (b *Builder) exportDir(ctx context.Context, dir string, replace bool, files []Source) error {
	return placeIn(ctx, dir, replace, func(unpack func(io.Reader) error) error {
		return b.export(ctx, outgoing.Export{Plain: true}, files, unpack)
	})
}
