package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder/gitref"
	"github.com/oakum-build/oakum/dockerfile"
)

// contextAndFile finds the build context and the Dockerfiles.
func contextAndFile(c *cli.Context, in io.Reader) (dockerfile.Options, error) {
	var o dockerfile.Options
	context := c.Args().First()
	if context == "" {
		context = "."
	}
	info, err := os.Stat(context)
	switch {
	case context == "-":
		o.Context.Stream = in
	case err != nil && isRemote(context):
		o.Context.URL = context
	case err != nil:
		return o, fmt.Errorf("context: %w", err)
	case !info.IsDir() && c.IsSet("file"):
		return o, fmt.Errorf("context %s is not a directory", context)
	case !info.IsDir(): // a Dockerfile, as in Buildah
		o.Context.Dir, o.File.Path = filepath.Dir(context), context
	default:
		o.Context.Dir = context
	}
	if o.Context.Dir == context {
		o.File.Path, o.File.More = dockerfiles(c, context)
	} else if files := values(c, "file"); len(files) > 0 {
		o.File.Path, o.File.More = files[0], files[1:]
	}
	contexts, err := keyValues("build-context", values(c, "build-context"))
	if err != nil {
		return o, err
	}
	o.Context.Named = map[string]string{}
	for name, value := range contexts {
		if value == nil {
			return o, usagef("--build-context %q: it is NAME=VALUE", name)
		}
		o.Context.Named[name] = *value
	}
	if o.File.Path != "-" {
		return o, nil
	}
	if o.Context.Stream != nil {
		return o, usagef("the context and --file cannot both be standard input")
	}
	o.File.Text = in
	return o, nil
}

// isRemote says that a context that is no path here is to be fetched.
func isRemote(context string) bool {
	git, _ := gitref.Is(context)
	return git || strings.Contains(context, "://") || strings.HasPrefix(context, "github.com/")
}
