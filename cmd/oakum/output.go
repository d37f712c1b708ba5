package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/dockerfile"
)

// output is what one --output asks for beside the image in the store.
type output struct {
	kind  string   // docker, image, oci or registry
	dest  string   // absolute path of an archive, of the kinds oci and docker; may be ""
	names []string // further names of the image
	push  bool     // the image is to be pushed to its names
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

// pushNames sends img to the registries of the names that it was built by. It gives the
// manifest as the first of them has it.
func pushNames(ctx context.Context, b *builder.Builder, img builder.Image, names []string, p *progress) (builder.Manifest, error) {
	var first builder.Manifest
	for i, name := range names {
		name = archiveName(name, img.Names)
		p.pushing(name)
		start := time.Now()
		sent, err := b.Push(ctx, img.ID, "docker://"+name, builder.PushOptions{})
		if err != nil {
			return first, err
		}
		p.pushed(name, sent.Digest.String(), time.Since(start))
		if i == 0 {
			first = sent
		}
	}
	return first, nil
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

// parseOutput reads --output: comma-separated attributes, quoted as in CSV.
func parseOutput(text string) (output, error) {
	var out output
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil && !errors.Is(err, io.EOF) { // the end of "" is no type, below
		return out, usagef("--output %q: %v", text, err)
	}
	for _, field := range fields {
		if err := out.set(field); err != nil {
			return out, usagef("--output %q: %v", text, err)
		}
	}
	if err := out.check(); err != nil {
		return out, usagef("--output %q: %v", text, err)
	}
	if out.dest == "" {
		return out, nil
	}
	if out.dest, err = filepath.Abs(out.dest); err != nil {
		return out, err
	}
	if strings.Contains(out.dest, ":") { // a reference such as oci-archive:PATH:NAME has no room for it
		return out, usagef("--output %q: the path of an archive cannot have a colon", text)
	}
	return out, nil
}

// set reads one attribute.
func (o *output) set(field string) error {
	key, value, _ := strings.Cut(field, "=")
	switch {
	case key == "type":
		o.kind = value
	case key == "dest":
		o.dest = value
	case key == "name":
		o.names = strings.Split(value, ",")
	case key == "push":
		push, err := strconv.ParseBool(value)
		if err != nil {
			return errors.New("push is true or false")
		}
		o.push = push
	case key == field:
		return errors.New("writing the files of the image to a directory or to standard output is not supported yet; use type=oci|docker,dest=FILE for an archive")
	case slices.Contains(outputsThatHold, field):
	default:
		return fmt.Errorf("%q is not supported; use type=oci|docker,dest=FILE, or type=image with name=NAME and push=true", field)
	}
	return nil
}

// outputsThatHold are attributes of buildx that ask for what is so anyway.
var outputsThatHold = []string{
	"tar=true", "store=true", "unpack=true", "compression=gzip", "force-compression=false",
	"push-by-digest=false", "attestation-inline=false", "buildinfo=false", "dangling-name-prefix=", "rewrite-timestamp=false",
}

// check finds what is missing, or does not belong together.
func (o *output) check() error {
	archive := o.kind == "oci" || o.kind == "docker"
	switch {
	case o.kind == "registry":
		o.push = true
	case o.kind == "image":
	case o.kind == "local" || o.kind == "tar":
		return fmt.Errorf("writing the files of the image, type=%s, is not supported yet; use type=oci|docker,dest=FILE for an archive", o.kind)
	case o.kind == "cacheonly":
		return errors.New("the image is put into the store in any case; leave type=cacheonly away")
	case !archive:
		return errors.New("type must be oci or docker, with dest=FILE, or image or registry")
	case o.dest == "" && o.kind == "oci":
		return errors.New("dest=FILE is missing")
	case o.dest == "-":
		return errors.New("writing to standard output is not supported yet")
	case o.push:
		return errors.New("push is of type=image")
	}
	if o.dest != "" && !archive {
		return errors.New("dest is of type=oci and type=docker")
	}
	return nil
}
