package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder"
)

func infoCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:        "info",
		Aliases:     []string{"doctor"},
		Usage:       "show the store and what this machine allows",
		Description: "When something is missing the messages say what and how to mend it, and the exit code is 4.",
		Flags: withStore([]cli.Flag{
			&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Usage: "`json|TEMPLATE` print this instead of text"},
		}),
		Action: func(c *cli.Context) error { return info(c, std) },
	}
}

func info(c *cli.Context, std streams) error {
	if err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	text := c.String("format")
	f, err := parseFormat(text, "")
	if err != nil {
		return err
	}
	err = withBuilder(c, func(ctx context.Context, b *builder.Builder) error {
		found, err := b.Info(ctx)
		if err != nil {
			return err
		}
		if text == "" {
			return printInfo(std.out, found)
		}
		return list[builder.Info]{rows: []builder.Info{found}, json: found}.print(std.out, f)
	})
	return withMore(c.Context, err)
}

func printInfo(out io.Writer, i builder.Info) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(key string, value any) { fmt.Fprintf(w, "%s:\t%v\n", key, value) }
	line("version", versionText())
	line("kernel", i.Kernel)
	line("architecture", i.Arch)
	line("rootless", i.Rootless)
	line("uid map", idMaps(i.UIDMap))
	line("gid map", idMaps(i.GIDMap))
	line("store", i.Root)
	line("run-time state", i.RunRoot)
	line("storage driver", i.Driver)
	for _, pair := range i.DriverStatus {
		line("  "+strings.ToLower(pair[0]), pair[1])
	}
	line("images", i.Images)
	line("layers", i.Layers)
	return w.Flush()
}

func idMaps(maps []builder.IDMap) string {
	if len(maps) == 0 {
		return "none: the host's ids"
	}
	var parts []string
	for _, m := range maps {
		parts = append(parts, fmt.Sprintf("%d->%d (%d)", m.Inside, m.Outside, m.Count))
	}
	return strings.Join(parts, ", ")
}

func versionCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:  "version",
		Usage: "show the version",
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 0, 0); err != nil {
				return err
			}
			_, err := fmt.Fprintf(std.out, "oakum %s (%s, %s/%s)\n", versionText(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}

// version is set by the Makefile: -ldflags "-X main.version=v1.2.3".
var version string

// versionText is the version, else what the Go command recorded: the module's
// version and the commit.
func versionText() string {
	if version != "" {
		return version
	}
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := build.Main.Version
	for _, s := range build.Settings {
		if s.Key == "vcs.revision" && !strings.Contains(v, shortID(s.Value)) {
			v += " " + shortID(s.Value)
		}
	}
	return v
}
