package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/cache"
	"github.com/oakum-build/oakum/builder/display"
	"github.com/oakum-build/oakum/builder/mount"
	sending "github.com/oakum-build/oakum/builder/push"
)

const placeUsage = "a file, a directory, which holds an OCI image layout, or docker://REGISTRY/NAME[:TAG]; a file has a layout as a tar"

// cacheCommands move the caches of RUN --mount=type=cache from one machine to another.
func cacheCommands(std streams) []*cli.Command {
	mounts := &cli.StringSliceFlag{Name: "mount", Usage: "the cache `ID` alone, its mount's id or else its target; repeatable (default: all)"}
	quiet := &cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print only the ids"}
	return []*cli.Command{
		{
			Name:  "cache export",
			Usage: "write the caches of RUN --mount=type=cache to a file, a directory or a registry",
			Description: "Each cache is copied while no command has it, for which it waits. oakum cache import reads them on another machine. " +
				"What a registry has already is not sent again. Prints the ids and the sizes, compressed.",
			Flags: withStore([]cli.Flag{
				mounts, quiet,
				&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `PLACE` instead of standard output: " + placeUsage},
				&cli.StringFlag{Name: "compression-format", Value: "zstd", Usage: "`gzip|zstd|uncompressed` compress the files so"},
				&cli.IntFlag{Name: "compression-level", Usage: "compress with level `N`, 0 to 9 of gzip and 0 to 22 of zstd"},
			}, registryFlags()),
			Action: func(c *cli.Context) error { return cacheExport(c, std) },
		},
		{
			Name:  "cache import",
			Usage: "read the caches that oakum cache export has written",
			Description: "A cache that the store has already stays as it is, unless --replace is given. Whoever may write what is read decides what commands " +
				"find in their caches: docs/cache.md. Prints the ids.",
			Flags: withStore([]cli.Flag{
				mounts, quiet,
				&cli.StringFlag{Name: "input", Aliases: []string{"i"}, Usage: "read `PLACE` instead of standard input: " + placeUsage},
				&cli.BoolFlag{Name: "replace", Usage: "put them in the place of those that the store has"},
			}, registryFlags()),
			Action: func(c *cli.Context) error { return cacheImport(c, std) },
		},
	}
}

// placeOf reads where caches are written to or read from: a registry, a directory, or a file, "-" for the standard
// stream.
func placeOf(text string) (at cache.At, file string, err error) {
	if ref, is := strings.CutPrefix(text, "docker://"); is {
		return cache.At{Ref: ref}, "", nil
	}
	if text == "" || text == standardOutput {
		return at, standardOutput, nil
	}
	info, err := os.Stat(text)
	switch {
	case err == nil && info.IsDir(), errors.Is(err, fs.ErrNotExist) && strings.HasSuffix(text, "/"):
		at.Layout, err = filepath.Abs(text)
		return at, "", err
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return at, "", err
	}
	return at, text, nil
}

// openFor opens the store for a command that reaches one registry.
func openFor(c *cli.Context, std streams, ref string) (b *builder.Builder, r builder.Registry, err error) {
	if r, err = registry(c); err == nil && ref != "" {
		r, err = forOne(r, []string{ref}, "write the registry's name in full")
	}
	if err != nil {
		return nil, r, err
	}
	b, err = open(c, builder.Options{Events: newProgress(std.raw.err, c.Bool("quiet")).event})
	return b, r, err
}

func cacheExport(c *cli.Context, std streams) (err error) {
	if err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	what := mount.Export{IDs: values(c, "mount")}
	var file string
	if what.To, file, err = placeOf(c.String("output")); err != nil {
		return err
	}
	if file == standardOutput && isTerminal(std.raw.out) {
		return usagef("an archive is not written to a terminal; redirect standard output, or use --output PLACE")
	}
	opts := builder.PushOptions{}
	if opts.Compression, err = mountCompression(c); err != nil {
		return err
	}
	b, r, err := openFor(c, std, what.To.Ref)
	if err != nil {
		return err
	}
	defer closeBuilder(b, &err)
	opts.Registry = r
	var moved []mount.Moved
	if file == "" {
		moved, err = b.ExportMounts(c.Context, what, opts)
	} else {
		err = toWhole(file, std, func(w io.Writer) (err error) {
			what.Archive = w
			moved, err = b.ExportMounts(c.Context, what, opts)
			return err
		})
	}
	if err != nil {
		return err
	}
	say := std.out
	if file == standardOutput {
		say = std.err
	}
	for _, m := range moved {
		if c.Bool("quiet") {
			fmt.Fprintln(say, display.Line(m.ID))
			continue
		}
		fmt.Fprintf(say, "Exported cache: %s, %s\n", display.Line(m.ID), humanSize(m.Size))
	}
	return nil
}

func mountCompression(c *cli.Context) (choice sending.Compression, err error) {
	if choice.Algorithm, err = oneOf(c, "compression-format", "gzip", "zstd", "uncompressed"); err != nil {
		return choice, err
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

func cacheImport(c *cli.Context, std streams) (err error) {
	if err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	what := mount.Import{IDs: values(c, "mount"), Replace: c.Bool("replace")}
	var file string
	if what.From, file, err = placeOf(c.String("input")); err != nil {
		return err
	}
	switch {
	case file == standardOutput && isTerminal(std.in):
		return usagef("an archive is not read from a terminal; redirect standard input, or use --input PLACE")
	case file == standardOutput:
		what.Archive = std.in
	case file != "":
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		what.Archive = f
	}
	b, r, err := openFor(c, std, what.From.Ref)
	if err != nil {
		return err
	}
	defer closeBuilder(b, &err)
	moved, err := b.ImportMounts(c.Context, what, builder.PullOptions{Registry: r})
	for _, m := range moved {
		switch {
		case c.Bool("quiet"):
			fmt.Fprintln(std.out, display.Line(m.ID))
		case m.Kept:
			fmt.Fprintf(std.out, "Kept the cache that is here: %s\n", display.Line(m.ID))
		default:
			fmt.Fprintf(std.out, "Imported cache: %s, %s\n", display.Line(m.ID), humanSize(m.Size))
		}
	}
	return err
}
