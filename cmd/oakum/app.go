package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder"
)

// newApp defines the whole command line. The help texts and docs/cli.md are
// rendered from this definition, see help.go.
func newApp(std streams) *cli.App {
	app := &cli.App{
		Name:  "oakum",
		Usage: "build OCI images from Dockerfiles, without a daemon and without root",
		Flags: withNames(storeFlags()),
		Commands: append([]*cli.Command{
			buildCommand(std),
			imagesCommand(std),
			inspectCommand(std),
			historyCommand(std),
			tagCommand(std),
			rmiCommand(std),
			imagePruneCommand(std),
			duCommand(std),
			pruneCommand(std),
			resetCommand(std),
			runCommand(std),
			pushCommand(std),
			pullCommand(std),
			saveCommand(std),
			loadCommand(std),
			loginCommand(std),
			logoutCommand(std),
			infoCommand(std),
			versionCommand(std),
			helpCommand(std),
		}, slices.Concat(manifestCommands(std), cacheCommands(std))...),
		Reader:                    std.in,
		Writer:                    std.out,
		ErrWriter:                 std.err,
		HideHelp:                  true, // help.go has it
		HideVersion:               true,
		DisableSliceFlagSeparator: true, // --label a=b,c is one label
		ExitErrHandler:            func(*cli.Context, error) {},
	}
	for _, cmd := range app.Commands {
		cmd.HideHelp = true
		cmd.Flags = withNames(cmd.Flags)
		cmd.OnUsageError = func(_ *cli.Context, err error, _ bool) error {
			// Package flag writes "flag -name", or "-name" alone, for --name.
			return usagef("%s", strings.NewReplacer("for flag -", "for --", "for -", "for --").Replace(err.Error()))
		}
	}
	return app
}

// storeFlags says where the store is. They stand before the verb or after it.
func storeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "root", Usage: "keep images in `DIR` instead of where storage.conf says"},
		&cli.StringFlag{Name: "runroot", Usage: "keep the store's run-time state in `DIR`"},
		&cli.StringFlag{Name: "storage-driver", Usage: "use the storage driver `NAME`"},
		&cli.StringSliceFlag{Name: "storage-opt", Usage: "pass `OPTION` to the storage driver"},
	}
}

// withStore adds the store's flags to a command's own.
func withStore(groups ...[]cli.Flag) []cli.Flag {
	var all []cli.Flag
	for _, g := range append(groups, storeFlags()) {
		all = append(all, g...)
	}
	return all
}

// open opens the store that the flags of c name. The caller fills in more of opts
// before, and must close the Builder.
func open(c *cli.Context, opts builder.Options) (*builder.Builder, error) {
	opts, err := withStoreOf(c, opts)
	if err != nil {
		return nil, err
	}
	return builder.Open(c.Context, opts)
}

// withStoreOf fills in what the flags of c say of the store.
func withStoreOf(c *cli.Context, opts builder.Options) (builder.Options, error) {
	opts.Root = c.String("root")
	opts.RunRoot = c.String("runroot")
	opts.Driver = c.String("storage-driver")
	opts.DriverOptions = values(c, "storage-opt")
	var err error
	if opts.Isolation, err = readChoice(c); err != nil {
		return opts, err
	}
	return opts, retries(c, &opts)
}

// withBuilder calls do with an opened Builder, and closes it.
func withBuilder(c *cli.Context, do func(context.Context, *builder.Builder) error) (err error) {
	b, err := open(c, builder.Options{Events: newProgress(c.App.ErrWriter, false).event})
	if err != nil {
		return err
	}
	defer closeBuilder(b, &err)
	return do(c.Context, b)
}

// closeBuilder closes b, and reports a failure to do so unless there is a worse one.
func closeBuilder(b *builder.Builder, err *error) {
	if closeErr := b.Close(); *err == nil {
		*err = closeErr
	}
}

// wantArgs checks the number of arguments; at most -1 is any number.
func wantArgs(c *cli.Context, least, most int) error {
	n := c.NArg()
	if n >= least && (most < 0 || n <= most) {
		return nil
	}
	few := "not enough"
	if n > least {
		few = "too many"
	}
	return usagef("%s arguments; usage: oakum %s", few, strings.TrimSpace(c.Command.Name+" [OPTIONS] "+c.Command.ArgsUsage))
}

// keyValues reads the K=V texts of a flag; a K without = has a nil value.
func keyValues(flag string, texts []string) (map[string]*string, error) {
	m := make(map[string]*string, len(texts))
	for _, text := range texts {
		k, v, ok := strings.Cut(text, "=")
		if k == "" {
			return nil, usagef("--%s %q has no name before the =", flag, text)
		}
		m[k] = nil
		if ok {
			m[k] = &v
		}
	}
	return m, nil
}

// environment turns -e flags into K=V: a K without = is taken from this process's
// environment, and left out when it is not there.
func environment(texts []string) ([]string, error) {
	var env []string
	for _, text := range texts {
		k, _, ok := strings.Cut(text, "=")
		if k == "" {
			return nil, usagef("--env %q has no name before the =", text)
		}
		if !ok {
			v, found := os.LookupEnv(k)
			if !found {
				continue
			}
			text = fmt.Sprintf("%s=%s", k, v)
		}
		env = append(env, text)
	}
	return env, nil
}
