package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder/foreign"
	"github.com/oakum-build/oakum/builder/limits"
	"github.com/oakum-build/oakum/dockerfile"
)

// languageFlags are the flags of build that give values to the Dockerfile, or change
// what it says.
func languageFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "build-arg", Usage: "set a build argument, `NAME=VALUE`, or NAME to take it from the environment; repeatable"},
		&cli.StringSliceFlag{Name: "build-arg-file", Usage: "set the build arguments in `FILE`, one NAME=VALUE a line, # starting a comment; those of --build-arg count more; repeatable"},
		secretFlag("a secret of the build, for RUN --mount=type=secret; HTTP_AUTH_TOKEN_HOST, HTTP_AUTH_HEADER_HOST, GIT_AUTH_TOKEN[.HOST] and GIT_AUTH_HEADER[.HOST] are credentials for ADD and contexts"),
		sshFlag("an ssh agent, for RUN --mount=type=ssh, and that of the ID default for git repositories over ssh"),
		&cli.BoolFlag{Name: "http-proxy", Value: true, Usage: "let RUN have this environment's proxy variables, outside of the image and the layer cache; on unless --http-proxy=false"},
		&cli.StringSliceFlag{Name: "env", Usage: "set the variable `NAME=VALUE` in the image when it is built, or NAME to take it from the environment; repeatable"},
		&cli.StringSliceFlag{Name: "unsetenv", Usage: "remove the variable `NAME` from the image; repeatable"},
		&cli.StringFlag{Name: "from", Usage: "start the first stage from `IMAGE` instead of its own"},
		&cli.StringFlag{Name: "ignorefile", Usage: "read `FILE` instead of the context's .containerignore or .dockerignore"},
		&cli.StringFlag{Name: "source-date-epoch", Usage: "date the image and its history `SECONDS` after 1970-01-01; the same as the build argument SOURCE_DATE_EPOCH", EnvVars: []string{epochVariable}},
		&cli.BoolFlag{Name: "rewrite-timestamp", Usage: "let no file of a new layer be later than --source-date-epoch"},
		&cli.StringFlag{Name: "timestamp", Usage: "date the image, its history and all files of its new layers `SECONDS` after 1970-01-01"},
	}
}

const epochVariable = "SOURCE_DATE_EPOCH"

// readLanguageFlags reads the languageFlags.
func readLanguageFlags(c *cli.Context, o *dockerfile.Options) error {
	var err error
	if o.BuildArgs, err = buildArgs(c); err != nil {
		return err
	}
	if o.Credentials.Secrets, err = readSecrets(values(c, "secret")); err != nil {
		return err
	}
	if o.Credentials.SSH, err = readSSH(values(c, "ssh")); err != nil {
		return err
	}
	o.LookupEnv = os.LookupEnv
	o.HostProxy = c.Bool("http-proxy")
	if o.Image.Env, err = environment(values(c, "env")); err != nil {
		return err
	}
	o.Image.UnsetEnv = values(c, "unsetenv")
	o.From, o.Context.IgnoreFile = c.String("from"), c.String("ignorefile")
	o.Image.RewriteTimes = c.Bool("rewrite-timestamp")
	if !c.IsSet("timestamp") {
		return nil
	}
	seconds, err := strconv.ParseUint(c.String("timestamp"), 10, 62)
	if err != nil {
		return usagef("--timestamp %q is not a number of seconds", c.String("timestamp"))
	}
	at := time.Unix(int64(seconds), 0).UTC()
	o.Image.Timestamp = &at
	return nil
}

// buildArgs reads the build arguments, those that count more last.
func buildArgs(c *cli.Context) (map[string]*string, error) {
	args := map[string]*string{}
	epoch := c.String("source-date-epoch")
	if epoch != "" {
		if _, err := strconv.ParseUint(epoch, 10, 62); err != nil && os.Getenv(epochVariable) != epoch {
			return nil, usagef("--source-date-epoch %q is not a number of seconds", epoch)
		}
		args[epochVariable] = &epoch
	}
	for _, name := range values(c, "build-arg-file") {
		lines, err := fileLines(c.Context, "--build-arg-file", name)
		if err != nil {
			return nil, err
		}
		for i, line := range lines {
			lines[i] = strings.TrimSpace(line)
		}
		more, err := keyValues("build-arg-file "+name, lines)
		if err != nil {
			return nil, err
		}
		maps.Copy(args, more)
	}
	more, err := keyValues("build-arg", values(c, "build-arg"))
	maps.Copy(args, more)
	// The variable yields to --timestamp, also where an argument without a value hands it on.
	at := args[epochVariable]
	if c.IsSet("timestamp") && (c.IsSet("source-date-epoch") && epoch != "" || at != nil && at != &epoch) {
		return nil, usagef("--timestamp and --source-date-epoch exclude each other")
	}
	return args, err
}

// fileLines reads the lines of a flag's file that are neither blank nor comments, without
// the space before them.
func fileLines(ctx context.Context, flag, name string) ([]string, error) {
	text, err := foreign.ReadNamed(ctx, name, limits.MaxArgumentFile)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	var lines []string
	for line := range strings.Lines(strings.TrimPrefix(string(text), "\ufeff")) {
		line = strings.TrimRight(strings.TrimLeft(line, " \t"), "\r\n")
		if line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines, nil
}

// inContext finds a Dockerfile: as in buildah, a relative name that is not in the
// working directory is looked for in the context.
func inContext(context, file string) string {
	if file == "" || filepath.IsAbs(file) {
		return file
	}
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		if inside := filepath.Join(context, file); isFile(inside) {
			return inside
		}
	}
	return file
}

// dockerfiles reads --file: the first, and those that follow it.
func dockerfiles(c *cli.Context, context string) (first string, more []string) {
	files := slices.Clone(values(c, "file"))
	for i, file := range files {
		files[i] = inContext(context, file)
	}
	if len(files) == 0 {
		return "", nil
	}
	return files[0], files[1:]
}
