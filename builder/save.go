package builder

import (
	"context"
	"fmt"
	"io"
	"os"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/builder/archive"
	"github.com/oakum-build/oakum/builder/internal/protocol/outgoing"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/storage/imageref"
)

// Save writes images of the store to w as one archive, which Load reads, and podman load and docker
// load. With opts.Format "docker" it is what docker save writes, which has no place for an
// index; otherwise it is an OCI image layout as a tar, whose bytes depend on the images and their names
// alone. Layers that images have in common are there once. It gives the manifests as they are in the archive, in the order of images.
//
// What has been written when Save fails is no archive. When ctx ends, Save returns without waiting for
// a w that is stuck.
func (b *Builder) Save(ctx context.Context, w io.Writer, opts PushOptions, images ...archive.Image) (sent []imgspec.Descriptor, err error) {
	how, err := opts.options()
	if err != nil {
		return nil, err
	}
	if len(images) == 0 {
		return nil, fmt.Errorf("%w: an archive needs images", ErrInvalid)
	}
	ask := outgoing.Save{Options: how, Access: opts.Registry.or(b.opts.Registry).access()}
	for _, img := range images {
		ask.Images = append(ask.Images, imageref.Named(img))
	}
	err = b.received(ctx, func(ctx context.Context, out *os.File) error {
		sent, err = callWith(ctx, b, nil, ask, wire.With{Files: []*os.File{out}})
		return err
	}, copyTo(w))
	return sent, err
}

// Load copies all images of an archive into the store, with the names that they have there: what docker save,
// podman save or Save have written, compressed or not. Of an index it is the image for opts.Platform. r may also be an open
// *os.File of a directory with an OCI image layout. What is no such archive is an error that matches ErrInvalid. Images that came before one that
// cannot be loaded stay, and are given with the error.
func (b *Builder) Load(ctx context.Context, r io.Reader, opts PullOptions) ([]Image, error) {
	p, err := readPlatform(opts.Platform)
	if err != nil {
		return nil, err
	}
	st := &streams{}
	defer st.close()
	var files []*os.File
	if f, ok := r.(*os.File); ok {
		files = append(files, f) // the worker reads it itself
	} else {
		if _, err = st.addTar(r); err != nil {
			return nil, err
		}
		files = st.files()
	}
	defer context.AfterFunc(ctx, st.abort)()
	out, err := callWith(ctx, b, nil, outgoing.Load{Platform: p, Access: opts.Registry.or(b.opts.Registry).access()}, wire.With{Files: files})
	if failed := st.wait(ctx); err == nil {
		err = failed
	}
	images := make([]Image, len(out))
	for i, img := range out {
		images[i] = image(img)
	}
	return images, err
}
