package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/display"
	"github.com/oakum-build/oakum/builder/isolation"
	"github.com/oakum-build/oakum/builder/terminal"
)

func runCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "try an image out: run its command, in the foreground",
		ArgsUsage: "IMAGE [COMMAND...]",
		Description: "Options stand before IMAGE; all that follows it is the command, which replaces the image's. " +
			"The exit code is the command's. What it changes in the files is thrown away. The command has pipes, or with -t a terminal " +
			"of its own, and none of the files that oakum has open. With -it every key goes to it, Ctrl-C too.",
		Flags: withStore([]cli.Flag{
			&cli.StringFlag{Name: "entrypoint", Usage: "replace the image's entrypoint, and drop its command: `COMMAND` or a JSON array"},
			&cli.StringSliceFlag{Name: "env", Aliases: []string{"e"}, Usage: "set the variable `NAME=VALUE`, or NAME to take it from the environment; repeatable"},
			&cli.StringSliceFlag{Name: "env-file", Usage: "set the variables in `FILE`, one NAME=VALUE or NAME a line, # starting a comment; those of --env count more; repeatable"},
			&cli.StringFlag{Name: "pull", Value: "missing", Usage: "`always|missing|never|newer` when to pull the image"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "do not tell of pulls"},
			&cli.StringFlag{Name: "workdir", Aliases: []string{"w"}, Usage: "run in `DIR`"},
			&cli.StringFlag{Name: "user", Aliases: []string{"u"}, Usage: "run as `USER[:GROUP]`"},
			&cli.BoolFlag{Name: "interactive", Aliases: []string{"i"}, Usage: "pass standard input on, also when it is a terminal (other input always is, unless =false)"},
			&cli.BoolFlag{Name: "tty", Aliases: []string{"t"}, Usage: "give the command a terminal, with standard output and error in one"},
		}, runMountFlags(), isolationFlags("h"), []cli.Flag{
			&cli.BoolFlag{Name: "privileged", Usage: "give the command all capabilities that there are for it, no system-call filter, and /proc, /sys and /dev as they are"},
		}, platformFlags("run the image for"), registryFlags()),
		Action: func(c *cli.Context) error { return runImage(c, std) },
	}
}

func runImage(c *cli.Context, std streams) (err error) {
	if err := wantArgs(c, 1, -1); err != nil {
		return err
	}
	reg, err := registry(c)
	if err != nil {
		return err
	}
	if reg, err = forOne(reg, []string{c.Args().First()}, "write IMAGE with its registry"); err != nil {
		return err
	}
	opts, err := runStage(c)
	if err != nil {
		return err
	}
	cmd, err := runCmd(c)
	if err != nil {
		return err
	}
	b, err := open(c, builder.Options{Registry: reg, Events: newProgress(std.raw.err, c.Bool("quiet")).event})
	if err != nil {
		return err
	}
	defer closeBuilder(b, &err)
	if level, why := b.Isolation(); level == isolation.NoCommands {
		return why // before the image is pulled
	}
	stage, err := b.Stage(c.Context, c.Args().First(), opts)
	if err != nil {
		return err
	}
	defer stage.Close()
	if cmd.Args, err = commandLine(stage.Config(), c); err != nil {
		return err
	}
	return runAttached(c, stage, std, cmd)
}

// runCmd is the command as far as the flags tell of it.
func runCmd(c *cli.Context) (cmd builder.Cmd, err error) {
	cmd = builder.Cmd{Dir: c.String("workdir"), User: c.String("user"), Ephemeral: true}
	if cmd.Env, err = runEnvironment(c); err != nil {
		return cmd, err
	}
	if cmd.Mounts, err = readRunMounts(c); err != nil {
		return cmd, err
	}
	cmd.Isolation, err = readIsolation(c)
	cmd.Isolation.Security.Insecure = c.Bool("privileged")
	return cmd, err
}

// runStage reads which image is meant.
func runStage(c *cli.Context) (opts builder.StageOptions, err error) {
	var policy pullPolicy
	if err := policy.Set(c.String("pull")); err != nil {
		return opts, usagef("--pull %s: it %v", display.Line(c.String("pull")), err)
	}
	opts.Pull = string(policy)
	opts.Platform, err = platform(c)
	return opts, err
}

// runEnvironment reads --env-file and --env, which counts more.
func runEnvironment(c *cli.Context) ([]string, error) {
	var env []string
	for _, name := range values(c, "env-file") {
		lines, err := fileLines(c.Context, "--env-file", name)
		if err != nil {
			return nil, err
		}
		for _, line := range lines {
			if key, _, _ := strings.Cut(line, "="); strings.ContainsAny(key, " \t") {
				return nil, usagef("--env-file %s: %q has a space in the name of a variable; it is NAME=VALUE, without quotes and export", name, line)
			}
		}
		more, err := environment(lines)
		if err != nil {
			return nil, err
		}
		env = append(env, more...)
	}
	more, err := environment(values(c, "env"))
	return append(env, more...), err
}

// runAttached runs a command with the standard streams, and turns its failure into a
// statusError.
func runAttached(c *cli.Context, stage *builder.Stage, std streams, cmd builder.Cmd) error {
	ctx, cancel := context.WithCancel(c.Context)
	defer cancel()
	// A reader that has gone away ends the command as in a shell, and not this process,
	// which the command's end must be left to.
	signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE)
	cmd.Stdout, cmd.Stderr = std.raw.out, std.raw.err
	// What is typed for the shell that oakum was started by is not for the command.
	input := !isTerminal(std.raw.in)
	if c.IsSet("interactive") {
		input = c.Bool("interactive")
	}
	if input {
		cmd.Stdin = std.raw.in
	}
	if c.Bool("tty") {
		cmd.Terminal = &terminal.Terminal{Size: windowSize(std.raw.out), Resized: windowSizes(ctx, std.raw.out)}
		if input && isTerminal(std.raw.in) {
			restore, err := changeTerminal(ctx, std.raw.in, raw)
			if err != nil {
				return fmt.Errorf("passing on what is typed: %w", err)
			}
			defer restore()
		}
	}
	_, err := stage.Run(ctx, cmd)
	var exit *builder.ExitError
	switch failed := errors.As(err, &exit); {
	case errors.Is(err, unix.EPIPE) && !failed:
		return statusError(128 + int(unix.SIGPIPE))
	case failed && exit.Reason == "" && (err == error(exit) || errors.Is(err, unix.EPIPE)):
		return statusError(exit.Code)
	}
	return err
}

// commandLine is entrypoint and command, as docker run joins them.
func commandLine(config builder.Config, c *cli.Context) ([]string, error) {
	entrypoint, command := config.Entrypoint, config.Cmd
	if c.IsSet("entrypoint") {
		entrypoint, command = parseEntrypoint(c.String("entrypoint")), nil
	}
	if c.NArg() > 1 {
		command = c.Args().Tail()
	}
	args := append(append([]string{}, entrypoint...), command...)
	if len(args) == 0 {
		return nil, fmt.Errorf("image %s has no command; give one: oakum run %s COMMAND", c.Args().First(), c.Args().First())
	}
	return args, nil
}

// parseEntrypoint reads a command, or a JSON array as podman permits; "" is none.
func parseEntrypoint(text string) []string {
	var list []string
	switch {
	case text == "":
		return nil
	case json.Unmarshal([]byte(text), &list) == nil:
		return list
	}
	return []string{text}
}
