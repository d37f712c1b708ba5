package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
	"text/tabwriter"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/display"
	"github.com/oakum-build/oakum/builder/isolation"
)

func infoCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:        "info",
		Aliases:     []string{"doctor"},
		Usage:       "show the store and what this machine allows",
		Description: "What this machine allows is tried, one thing after the other, and what mends each thing that is missing is said. What is missing costs what is said with it, and no more.",
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
	return withBuilder(c, func(ctx context.Context, b *builder.Builder) error {
		found, err := b.Info(ctx)
		if err != nil {
			return err
		}
		if text == "" {
			return printInfo(std.out, found)
		}
		return list[builder.Info]{rows: []builder.Info{found}, json: found}.print(std.out, f)
	})
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
	line("worker", i.Commands.Worker)
	line("isolation of commands", levelOf(i.Commands))
	line("sandbox", sandboxes(i.Commands))
	line("network of commands", networkOf(i.Commands))
	line("limits of commands", limitsOf(i.Commands))
	line("architectures", cmp.Or(strings.Join(i.Commands.Emulators, ", "), "only "+i.Arch))
	line("images", i.Images)
	line("layers", i.Layers)
	if err := w.Flush(); err != nil {
		return err
	}
	return printProbes(out, i.Commands)
}

// printProbes prints what was tried on this machine, and what mends each thing that is missing.
func printProbes(out io.Writer, m isolation.Means) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, p := range m.Probes {
		is := "yes"
		if !p.OK {
			is = "no"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", p.Name, is, display.Line(p.Found))
		if p.Fix != "" && !p.OK {
			fmt.Fprintf(w, "\t\tto mend it: %s\n", display.Line(p.Fix))
		}
	}
	return w.Flush()
}

// levelOf is how far commands are kept apart, in words.
func levelOf(m isolation.Means) string {
	return map[isolation.Level]string{
		isolation.NoCommands: "none: no command can be run, all else works", isolation.Chroot: "chroot: a root directory of their own, and fewer rights",
		isolation.Reduced: "reduced: namespaces, but that of processes", isolation.Full: "full: namespaces",
	}[m.Level]
}

// sandboxes are those that there are.
func sandboxes(m isolation.Means) string {
	text := ""
	for i, name := range m.Sandboxes {
		switch i {
		case 0:
			text = string(name)
		case 1:
			text += ", or by --isolation " + string(name)
		default:
			text += ", " + string(name)
		}
	}
	return text
}

// networkOf is what a command has without --network.
func networkOf(m isolation.Means) string {
	if m.NotPrivate != "" {
		return fmt.Sprintf("%s: %s", m.Network, m.NotPrivate)
	}
	return fmt.Sprintf("%s, by %s", m.Network, m.Through)
}

// limitsOf are those that need control groups.
func limitsOf(m isolation.Means) string {
	if m.NotLimited != "" {
		return "only --ulimit and --shm-size: " + m.NotLimited
	}
	return strings.Join(m.Controllers, ", ")
}

func idMaps(maps []specs.LinuxIDMapping) string {
	if len(maps) == 0 {
		return "none: the host's ids"
	}
	var parts []string
	for _, m := range maps {
		parts = append(parts, fmt.Sprintf("%d->%d (%d)", m.ContainerID, m.HostID, m.Size))
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
