package main

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder"
	sending "github.com/oakum-build/oakum/builder/push"
)

// compressionFlags are those of commands that send images, by the names of Podman.
func compressionFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "compression-format", Usage: "`gzip|zstd|zstd:chunked|uncompressed` compress layers so (default: gzip), also those that were compressed otherwise where they come from, unless --force-compression=false"},
		&cli.IntFlag{Name: "compression-level", Usage: "compress with level `N`, 0 to 9 of gzip and 0 to 22 of zstd"},
		&cli.BoolFlag{Name: "force-compression", Usage: "compress layers also where the other side has them in another compression (default: with --compression-format)"},
		&cli.BoolFlag{Name: "disable-compression", Aliases: []string{"D"}, Usage: "the same as --compression-format=uncompressed"},
	}
}

// readCompression reads compressionFlags.
func readCompression(c *cli.Context) (sending.Compression, error) {
	choice := sending.Compression{Algorithm: c.String("compression-format"), Force: c.IsSet("compression-format")}
	if c.Bool("disable-compression") {
		if choice.Algorithm != "" {
			return choice, usagef("--disable-compression and --compression-format exclude each other")
		}
		choice.Algorithm, choice.Force = "uncompressed", true
	}
	if c.IsSet("force-compression") {
		choice.Force = c.Bool("force-compression")
	}
	if c.IsSet("compression-level") {
		level := c.Int("compression-level")
		choice.Level = &level
	}
	if err := choice.Check(); err != nil {
		return choice, usagef("%v", err)
	}
	return choice, nil
}

// setLevel reads the attribute compression-level of --output.
func (o *output) setLevel(value string) error {
	level, err := strconv.Atoi(value)
	if err != nil {
		return fmt.Errorf("must be a number, not %q", value)
	}
	o.compression.Level = &level
	return nil
}

// checkCompression finds what cannot be.
func (o *output) checkCompression() error {
	if o.kind == toDocker && o.compression != (sending.Compression{}) && o.compression != (sending.Compression{Algorithm: "uncompressed"}) {
		return errors.New("layers of one of Docker's archives are not compressed; leave compression away, or use type=oci")
	}
	return o.compression.Check()
}

// pushesAs gives how the outputs that push an image do that, which must be the same for all.
func pushesAs(outputs []output) (opts builder.PushOptions, err error) {
	var first *output
	for i := range outputs {
		o := &outputs[i]
		switch {
		case !o.push && o.byDigest:
			return opts, usagef("--output: push-by-digest is of an image that is pushed: add push=true")
		case !o.push:
		case first == nil:
			first = o
			opts.Compression, opts.ByDigest = o.compression, o.byDigest
		case !sameCompression(o.compression, first.compression) || o.byDigest != first.byDigest:
			return opts, usagef("--output: all that are pushed are compressed alike, and all or none by digest; oakum push sends an image again in another way")
		}
	}
	return opts, nil
}

func sameCompression(a, b sending.Compression) bool {
	if (a.Level == nil) != (b.Level == nil) || a.Level != nil && *a.Level != *b.Level {
		return false
	}
	return a.Algorithm == b.Algorithm && a.Force == b.Force
}
