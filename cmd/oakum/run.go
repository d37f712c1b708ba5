package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder"
)

func runCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "try an image out: run its command, in the foreground",
		ArgsUsage: "IMAGE [COMMAND...]",
		Description: "Options stand before IMAGE; all that follows it is the command, which replaces the image's. " +
			"The exit code is the command's. What it changes in the files is thrown away.",
		Flags: withStore([]cli.Flag{
			&cli.StringFlag{Name: "entrypoint", Usage: "replace the image's entrypoint, and drop its command: `COMMAND` or a JSON array"},
			&cli.StringSliceFlag{Name: "env", Aliases: []string{"e"}, Usage: "set the variable `NAME=VALUE`, or NAME to take it from the environment; repeatable"},
			&cli.StringFlag{Name: "workdir", Aliases: []string{"w"}, Usage: "run in `DIR`"},
			&cli.StringFlag{Name: "user", Aliases: []string{"u"}, Usage: "run as `USER[:GROUP]`"},
			&cli.BoolFlag{Name: "interactive", Aliases: []string{"i"}, Usage: "accepted for compatibility: standard input is always passed on"},
			&cli.BoolFlag{Name: "tty", Aliases: []string{"t"}, Usage: "accepted for compatibility: the command has oakum's own terminal, if any"},
		}, registryFlags()),
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
	env, err := environment(c.StringSlice("env"))
	if err != nil {
		return err
	}
	b, err := open(c, builder.Options{Registry: reg, Events: newProgress(std.err, false).event})
	if err != nil {
		return err
	}
	defer closeBuilder(b, &err)
	return runStage(c.Context, b, c.Args().First(), func(config builder.Config) (builder.Cmd, error) {
		args, err := commandLine(config, c)
		return builder.Cmd{
			Args: args, Env: env, Dir: c.String("workdir"), User: c.String("user"),
			Stdin: std.in, Stdout: std.out, Stderr: std.err, Ephemeral: true,
		}, err
	})
}

// runStage runs one command in an image and turns its failure into a statusError.
func runStage(ctx context.Context, b *builder.Builder, ref string, command func(builder.Config) (builder.Cmd, error)) error {
	stage, err := b.Stage(ctx, ref, builder.StageOptions{})
	if err != nil {
		return err
	}
	defer stage.Close()
	cmd, err := command(stage.Config())
	if err != nil {
		return err
	}
	err = stage.Run(ctx, cmd)
	var exit *builder.ExitError
	if errors.As(err, &exit) && exit.Reason == "" {
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
