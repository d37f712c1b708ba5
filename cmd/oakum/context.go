package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder"
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
		o.Context = in
	case err != nil && isRemote(context):
		o.ContextURL = context
	case err != nil:
		return o, fmt.Errorf("context: %w", err)
	case !info.IsDir() && c.IsSet("file"):
		return o, fmt.Errorf("context %s is not a directory", context)
	case !info.IsDir(): // a Dockerfile, as in Buildah
		o.ContextDir, o.File = filepath.Dir(context), context
	default:
		o.ContextDir = context
	}
	if o.ContextDir == context {
		o.File, o.MoreFiles = dockerfiles(c, context)
	} else if files := values(c, "file"); len(files) > 0 {
		o.File, o.MoreFiles = files[0], files[1:]
	}
	contexts, err := keyValues("build-context", values(c, "build-context"))
	if err != nil {
		return o, err
	}
	o.Contexts = map[string]string{}
	for name, value := range contexts {
		if value == nil {
			return o, usagef("--build-context %q: it is NAME=VALUE", name)
		}
		o.Contexts[name] = *value
	}
	if o.File != "-" {
		return o, nil
	}
	if o.Context != nil {
		return o, usagef("the context and --file cannot both be standard input")
	}
	o.Dockerfile = in
	return o, nil
}

// isRemote says that a context that is no path here is to be fetched.
func isRemote(context string) bool {
	git, _ := builder.IsGit(context)
	return git || strings.Contains(context, "://") || strings.HasPrefix(context, "github.com/")
}
