package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	sending "github.com/oakum-build/oakum/builder/push"
)

// standardOutput is the dest of an output that goes there.
const standardOutput = "-"

// output is what one --output asks for beside the image in the store.
type output struct {
	kind  outputKind
	dest  string   // the absolute path of a file or a directory, or standardOutput; "" is the store
	names []string // further names of the image
	push  bool     // the image is to be pushed to its names
	files files

	compression sending.Compression // of layers that are sent
	byDigest    bool                // the names of what is pushed get no tags

	layout bool   // dest is the directory of an OCI image layout, and not an archive
	format string // that oci-mediatypes asks for, oci or docker; "" is any
}

// files is what an output of files takes of the image, and how it is put into a directory.
type files struct {
	src    string // a file or a directory of the image; "" is all
	merged bool   // the files of several platforms come into one directory
	apart  bool   // those of one platform come into a directory of its own, too
	mode   string // "delete" or else "copy"
}

// outputKind is the type of an output.
type outputKind string

const (
	toImage     outputKind = "image"
	toRegistry  outputKind = "registry"
	toOCI       outputKind = "oci"
	toDocker    outputKind = "docker"
	toDirectory outputKind = "local"
	toTar       outputKind = "tar"
	toNothing   outputKind = "cacheonly"
)

// attribute is one that outputs have.
type attribute struct {
	kinds []outputKind // nil is all
	set   func(o *output, value string) error
	why   string // without set: why there is none
}

// switchOf reads an attribute that is true or false.
func switchOf(set func(o *output, on bool)) func(*output, string) error {
	return func(o *output, value string) error {
		on, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("must be true or false, not %q", value)
		}
		set(o, on)
		return nil
	}
}

// only takes the values that ask for what is so anyway; why says what is to be done else.
func only(why string, values ...string) func(*output, string) error {
	return func(_ *output, value string) error {
		if slices.ContainsFunc(values, func(v string) bool { return strings.EqualFold(v, value) }) {
			return nil
		}
		return errors.New(why)
	}
}

var imageKinds = []outputKind{toImage, toRegistry, toOCI, toDocker}

// attributes are those of buildx, by their names, and src.
var attributes = map[string]attribute{
	"type": {set: func(o *output, value string) error { o.kind = outputKind(value); return nil }},
	"dest": {kinds: []outputKind{toOCI, toDocker, toDirectory, toTar}, set: func(o *output, value string) error { o.dest = value; return nil }},
	"name": {kinds: imageKinds, set: func(o *output, value string) error { o.names = strings.Split(value, ","); return nil }},
	"push": {kinds: []outputKind{toImage, toRegistry}, set: switchOf(func(o *output, on bool) { o.push = on })},
	"src":  {kinds: []outputKind{toDirectory, toTar}, set: func(o *output, value string) error { o.files.src = value; return nil }},
	"mode": {kinds: []outputKind{toDirectory}, set: func(o *output, value string) error {
		o.files.mode = value
		if value != "copy" && value != "delete" {
			return fmt.Errorf("must be copy or delete, not %q", value)
		}
		return nil
	}},
	"platform-split": {kinds: []outputKind{toDirectory, toTar}, set: switchOf(func(o *output, on bool) { o.files.merged, o.files.apart = !on, on })},
	"tar":            {kinds: []outputKind{toOCI, toDocker}, set: switchOf(func(o *output, on bool) { o.layout = !on })},

	"store":             {kinds: imageKinds, set: only("the image is put into the store in any case", "true")},
	"unpack":            {kinds: imageKinds, set: only("the image's files are in the store in any case", "true")},
	"compression":       {kinds: imageKinds, set: func(o *output, value string) error { o.compression.Algorithm = value; return nil }},
	"compression-level": {kinds: imageKinds, set: (*output).setLevel},
	"force-compression": {kinds: imageKinds, set: switchOf(func(o *output, on bool) { o.compression.Force = on })},
	"push-by-digest":    {kinds: []outputKind{toImage, toRegistry}, set: switchOf(func(o *output, on bool) { o.byDigest = on })},
	"oci-mediatypes": {kinds: imageKinds, set: switchOf(func(o *output, on bool) {
		if o.format = "docker"; on {
			o.format = "oci"
		}
	})},
	"oci-artifact":          {kinds: imageKinds, set: only("there are no attestations yet", "true", "false")},
	"attestation-inline":    {kinds: imageKinds, set: only("there are no attestations yet", "true", "false")},
	"attestation-prefix":    {kinds: []outputKind{toDirectory, toTar}, set: only("there are no attestations yet", "")},
	"buildinfo":             {set: only("there is none", "false")},
	"rewrite-timestamp":     {kinds: imageKinds, set: only("--rewrite-timestamp is for the whole build", "false")},
	"dangling-name-prefix":  {kinds: imageKinds, set: only("an image without a name is called by its id", "")},
	"name-canonical":        {kinds: imageKinds, set: only("a name with a digest is no name of an image in the store", "false")},
	"prefer-nondist-layers": {kinds: imageKinds, set: only("layers are in what is written", "false")},
	"registry.insecure":     {kinds: []outputKind{toImage, toRegistry}, set: only("use --tls-verify=false", "false")},
	"context":               {kinds: []outputKind{toDocker}, why: "a Docker daemon is not asked; load what dest=FILE writes by docker load"},
}

// parseOutput reads --output: comma-separated attributes, quoted as in CSV, or the path of a
// directory, or - for a tar on standard output.
func parseOutput(text string) (output, error) {
	out, err := readOutput(text)
	if err != nil {
		return out, usagef("--output %q: %v", text, err)
	}
	if out.dest == "" || out.dest == standardOutput {
		return out, nil
	}
	if out.dest, err = filepath.Abs(out.dest); err != nil {
		return out, err
	}
	if out.layout && strings.Contains(out.dest, ":") { // a reference such as oci:PATH:NAME has no room for it
		return out, usagef("--output %q: the path of a layout cannot have a colon", text)
	}
	return out, out.checkDest(text)
}

func readOutput(text string) (output, error) {
	var out output
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil && !errors.Is(err, io.EOF) { // the end of "" is no type, below
		return out, err
	}
	if len(fields) == 1 && !strings.Contains(fields[0], "=") {
		out.kind, out.dest = toDirectory, fields[0]
		if out.dest == standardOutput {
			out.kind = toTar
		}
		return out, nil
	}
	given := map[string]bool{}
	for _, field := range fields {
		key, value, ok := strings.Cut(field, "=")
		key = strings.ToLower(strings.TrimSpace(key))
		if !ok {
			return out, fmt.Errorf("%q is not NAME=VALUE", field)
		}
		given[key] = true
		if err := out.set(key, value); err != nil {
			return out, err
		}
	}
	return out, out.check(given)
}

// set reads one attribute.
func (o *output) set(key, value string) error {
	a, known := attributes[key]
	switch {
	case strings.HasPrefix(key, "annotation"):
		return fmt.Errorf("%s: use --annotation, which annotates the image in the store too", key)
	case !known:
		return fmt.Errorf("%q is not supported; use type=local|tar|oci|docker with dest=PATH, or type=image with name=NAME and push=true", key)
	case a.set == nil:
		return fmt.Errorf("%s: %s", key, a.why)
	}
	if err := a.set(o, value); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

// check finds what is missing, or does not belong together.
func (o *output) check(given map[string]bool) error {
	switch o.kind {
	case toImage, toDocker, toNothing:
	case toRegistry:
		if given["push"] && !o.push {
			return errors.New("type=registry pushes the image; type=image does not")
		}
		o.push = true
	case toOCI, toDirectory, toTar:
		if o.dest != "" {
			break
		}
		if o.kind == toDirectory || o.layout || given["dest"] {
			return errors.New("dest=PATH is missing")
		}
		o.dest = standardOutput // as in docker buildx
	case "":
		return errors.New("type is missing: local, tar, oci, docker, image, registry or cacheonly")
	default:
		return fmt.Errorf("type %q is not known: it is local, tar, oci, docker, image, registry or cacheonly", o.kind)
	}
	for key := range given {
		if kinds := attributes[key].kinds; kinds != nil && !slices.Contains(kinds, o.kind) {
			return fmt.Errorf("%s is not of type=%s, but of %s", key, o.kind, oneOfKinds(kinds))
		}
	}
	switch {
	case o.kind == toDirectory && o.dest == standardOutput:
		return errors.New("a directory cannot be written to standard output; type=tar can")
	case o.layout && o.kind == toDocker:
		return errors.New("tar=false is of type=oci: there is no directory that docker reads")
	case o.layout && o.dest == standardOutput:
		return errors.New("a directory cannot be written to standard output; leave tar=false away")
	}
	return o.checkCompression()
}

func oneOfKinds(kinds []outputKind) string {
	var words []string
	for _, k := range kinds {
		words = append(words, string(k))
	}
	return strings.Join(words, " and ")
}

// checkFormat compares what oci-mediatypes asks for with what is made, where the format of the image in the store
// counts unless the type of the output says another.
func (o *output) checkFormat(text, format string) error {
	switch {
	case o.kind == toOCI:
		format = "oci"
	case o.kind == toDocker || format == "docker":
		format = "docker"
	default:
		format = "oci"
	}
	if o.format == "" || o.format == format {
		return nil
	}
	return usagef("--output %q: oci-mediatypes: --format oci or docker says what the image is, in the store too, and type=oci or docker what an archive is", text)
}

// checkDest finds what is in the way of an output, before anything is built for it.
func (o *output) checkDest(text string) error {
	info, err := os.Stat(o.dest)
	switch {
	case err != nil: // it is to be made
	case (o.kind == toDirectory || o.layout) && !info.IsDir():
		return usagef("--output %q: %s is not a directory", text, o.dest)
	case o.kind != toDirectory && !o.layout && info.IsDir():
		return usagef("--output %q: %s is a directory", text, o.dest)
	}
	return nil
}

// checkOutputs finds what does not go with each other. allowed says that any directory may be emptied.
func checkOutputs(outputs []output, allowed, terminal bool) error {
	used := false
	for _, o := range outputs {
		if o.dest == standardOutput {
			switch {
			case used:
				return usagef("--output: only one output can go to standard output")
			case terminal:
				return usagef("--output: an archive is not written to a terminal; redirect standard output, or use dest=FILE")
			}
			used = true
		}
		if o.kind == toDirectory && o.files.mode == "delete" && !allowed {
			if err := checkDelete(o.dest); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkDelete lets all else in a directory be removed only if that is below the working directory, wherever
// links lead, as docker buildx does.
func checkDelete(dir string) error {
	work, err := os.Getwd()
	if err == nil {
		work, err = filepath.EvalSymlinks(work)
	}
	if err != nil {
		return err
	}
	real, err := realPath(dir)
	if err != nil {
		return err
	}
	if rel, err := filepath.Rel(work, real); err == nil && rel != "." && filepath.IsLocal(rel) {
		return nil
	}
	return usagef("--output: mode=delete would remove all else in %s, which is not below the working directory; --allow %s lets it", real, allowDelete)
}

// realPath is a path without links, of which the end need not exist.
func realPath(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, os.ErrNotExist) && filepath.Dir(path) != path {
		if _, missing := os.Lstat(path); missing == nil {
			return "", fmt.Errorf("%s is a link that leads nowhere: %w", path, err)
		}
		parent, err := realPath(filepath.Dir(path))
		return filepath.Join(parent, filepath.Base(path)), err
	}
	return real, err
}
