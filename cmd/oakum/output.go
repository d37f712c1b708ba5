package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/dockerfile"
)

// output is an archive that a build writes beside the image in the store.
type output struct {
	kind string // oci or docker
	dest string // absolute path of the file
}

// write sends img to the archive. The file appears whole or not at all: it is
// written under another name in the same directory and then renamed.
func (o output) write(ctx context.Context, b *builder.Builder, img builder.Image, opts dockerfile.Options) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("output %s: %w", o.dest, err)
		}
	}()
	dir, err := os.MkdirTemp(filepath.Dir(o.dest), ".oakum-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "image.tar")
	ref := o.kind + "-archive:" + file
	if len(opts.Names) > 0 {
		ref += ":" + archiveName(opts.Names[0], img.Names)
	}
	if _, err := b.Push(ctx, img.ID, ref, builder.PushOptions{Format: o.kind}); err != nil {
		return err
	}
	return os.Rename(file, o.dest)
}

// archiveName is the name that the store gave to the tag that was asked for.
func archiveName(tag string, names []string) string {
	for _, name := range names {
		if name == tag || name == tag+":latest" || strings.HasSuffix(name, "/"+tag) || strings.HasSuffix(name, "/"+tag+":latest") {
			return name
		}
	}
	return tag
}
