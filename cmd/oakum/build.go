package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/display"
	"github.com/oakum-build/oakum/builder/usage"
	"github.com/oakum-build/oakum/dockerfile"
)

func buildCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "build",
		Aliases:   []string{"bud", "build-using-dockerfile", "buildx build", "builder build", "image build"},
		Usage:     "build an image from a Dockerfile",
		ArgsUsage: "[CONTEXT]",
		Description: "Builds the Dockerfile in the directory CONTEXT (the current one when it is not given) " +
			"and writes the image's id to standard output; progress goes to standard error. CONTEXT may also be a git " +
			"repository (URL[#REF[:DIRECTORY]]), the URL of a tar archive or a Dockerfile, or - for one of these on standard input; a Dockerfile stands for its directory.",
		Flags:  withStore(buildFlags(), cacheFlags(), cachingFlags(), platformFlags("build for"), shapeFlags(), resultFlags(), languageFlags(), explainFlags(), buildRunFlags(), isolationFlags(), registryFlags()),
		Action: func(c *cli.Context) error { return build(c, std) },
	}
}

func buildFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "tag", Aliases: []string{"t"}, Usage: "name the image `NAME[:TAG]`; repeatable"},
		&cli.StringSliceFlag{Name: "file", Aliases: []string{"f"}, Usage: "read the Dockerfile `FILE`, a path, a URL or - (default: Dockerfile, dockerfile or Containerfile in the context); of several, each goes on where the one before ends"},
		&cli.StringSliceFlag{Name: "build-context", Usage: "`NAME[::PLATFORM]=VALUE` let VALUE stand for the image or stage NAME in FROM and COPY --from: a directory, docker-image://IMAGE, oci-layout://PATH[:TAG|@DIGEST], containers-storage:NAME, oci-archive:FILE, docker-archive:FILE, oci:DIR, dir:DIR, a git repository or the URL of an archive; repeatable"},
		&cli.StringFlag{Name: "target", Usage: "build the stage `NAME` instead of the last"},
		&cli.GenericFlag{Name: "pull", Value: new(pullPolicy), Usage: "`always|missing|never|newer` when to pull base images; without a value always, without the flag missing"},
		&cli.BoolFlag{Name: "pull-always", Usage: "the same as --pull=always"},
		&cli.BoolFlag{Name: "pull-never", Usage: "the same as --pull=never"},
		&cli.BoolFlag{Name: "check", Usage: "do not build: show what the build checks find in the Dockerfile; the same as --call=check"},
		&cli.StringFlag{Name: "call", Value: "build", Usage: "`METHOD[,format=json]` what to do: build, check (or lint), outline (show the build arguments and secrets of the target), targets (list the stages) or subrequests.describe (list what can be asked for)"},
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print only the image id"},
		&cli.StringFlag{Name: "on-error", Usage: "`shell` when a RUN fails, open a shell in its files, mounts and environment; what is changed there is thrown away, and the build fails when it is left"},
		&cli.IntFlag{Name: "jobs", Usage: "build at most `N` stages side by side (default: as many as there are processors)"},
		&cli.StringFlag{Name: "format", Value: "oci", EnvVars: []string{"BUILDAH_FORMAT"}, Usage: "`oci|docker` the format of the image"},
		&cli.StringFlag{Name: "progress", Value: "auto", EnvVars: []string{"BUILDKIT_PROGRESS"}, Usage: "`auto|plain|rawjson|quiet` how to show progress; rawjson is a line of JSON for each event, in the shape of BuildKit's"},
		&cli.StringSliceFlag{Name: "output", Aliases: []string{"o"}, Usage: "`OUTPUT` write the result elsewhere, too: DIR or type=local,dest=DIR[,mode=copy|delete] its files into a directory; - or type=tar,dest=FILE a tar of them, and src=PATH a part of either; type=oci|docker,dest=FILE the image as an archive; type=image[,name=NAME][,push=true] and type=registry[,name=NAME] name it and push it; type=cacheonly no image, only the layer cache is filled; dest=- is standard output, where an archive without dest goes, too; repeatable"},
		&cli.BoolFlag{Name: "push", Usage: "push the image to each of its names when it is built"},
	}
}

// pullPolicy is the value of --pull.
type pullPolicy string

// Set reads the values of buildah's --pull; "true" is --pull without a value.
func (p *pullPolicy) Set(text string) error {
	switch text {
	case "true", "always":
		*p = pullPolicy("always")
	case "false", "missing", "ifmissing":
		*p = pullPolicy("")
	case "never":
		*p = pullPolicy("never")
	case "newer", "ifnewer":
		*p = pullPolicy("newer")
	default:
		return errors.New("must be always, missing, never or newer")
	}
	return nil
}

// readPull reads --pull and the switches of buildah that stand for its values.
func readPull(c *cli.Context) (string, error) {
	policy := string(*c.Generic("pull").(*pullPolicy))
	always, never := c.Bool("pull-always"), c.Bool("pull-never")
	switch {
	case always && never:
		return "", usagef("--pull-always and --pull-never exclude each other")
	case always:
		return "always", nil
	case never:
		return "never", nil
	}
	return policy, nil
}

func (p *pullPolicy) String() string   { return string(*p) }
func (p *pullPolicy) IsBoolFlag() bool { return true }

// buildRequest is what the flags of build ask for.
type buildRequest struct {
	options  dockerfile.Options
	registry builder.Registry
	call     call
	outputs  []output
	push     bool
	pushing  builder.PushOptions
	quiet    bool
	raw      bool // the progress is JSON
	warnings []string
	results  results
	mounts   mountsToMove
	onError  *shellOnError
	policy   []usage.Options
}

// build carries out the verb: everything that the flags can get wrong is found
// before the store is opened.
func build(c *cli.Context, std streams) (err error) {
	req, err := readBuildFlags(c, std)
	if err != nil {
		return err
	}
	if req.call.method != "" {
		return answer(c, std, req)
	}
	if form := *c.Generic("dry-run").(*dryRun); form != "" {
		return dryRunBuild(c, std, req, form)
	}
	log, closeLog, err := req.results.openLog(std.raw.err)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeLog()) }()
	if req.onError != nil {
		log = req.onError.beside(log)
		req.options.Steps.OnError = req.onError.open
	}
	progress := newProgress(log, req.quiet)
	if req.raw {
		progress.raw = newRawProgress(log)
	}
	if req.options.Steps.Explain {
		progress.steps = &stepTable{}
		req.results.steps = progress.steps
	}
	for _, text := range req.warnings {
		progress.warn(text, 0)
	}
	req.options.Progress = progress.step
	b, err := open(c, builder.Options{Registry: req.registry, Events: progress.event})
	if err != nil {
		return err
	}
	defer closeBuilder(b, &err)
	defer func() { applyPolicy(c, b, req.policy, progress) }()
	endPush, err := beginPush(c.Context, b, &req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, endPush()) }()
	img, err := buildImage(c.Context, b, req, progress)
	if err != nil {
		return err
	}
	if err := deliver(c.Context, b, req, img, progress, std); err != nil || req.silent() {
		return err
	}
	_, err = fmt.Fprintln(std.out, img.ID)
	return err
}

// buildImage builds, between reading caches of commands and writing them.
func buildImage(ctx context.Context, b *builder.Builder, req buildRequest, progress *progress) (builder.Image, error) {
	if err := req.mounts.importAll(ctx, b, progress); err != nil {
		return builder.Image{}, err
	}
	img, err := dockerfile.Build(ctx, b, req.options)
	if err != nil && req.quiet {
		return img, quietError{err}
	}
	if err != nil {
		return img, err
	}
	progress.tagged(req.options.Image.Names)
	return img, errors.Join(progress.table(), req.mounts.exportAll(ctx, b, progress))
}

// silent says that standard output has something else than the image's id, or that there is no image.
func (r buildRequest) silent() bool {
	return r.options.Steps.CacheOnly || slices.ContainsFunc(r.outputs, func(o output) bool { return o.dest == standardOutput })
}

func readBuildFlags(c *cli.Context, std streams) (buildRequest, error) {
	var req buildRequest
	if err := wantArgs(c, 0, 1); err != nil {
		return req, err
	}
	if err := readStreamFlags(c, std, &req); err != nil {
		return req, err
	}
	registry, err := registry(c)
	if err != nil {
		return req, err
	}
	if req.options, err = contextAndFile(c, std.in); err != nil {
		return req, err
	}
	o := &req.options
	o.Target = c.String("target")
	if o.Platforms, err = platforms(c); err != nil {
		return req, err
	}
	if err := readLanguageFlags(c, o); err != nil {
		return req, err
	}
	if o.Run, err = readBuildRun(c); err != nil {
		return req, err
	}
	if err := readShape(c, &o.Image); err != nil {
		return req, err
	}
	if err := readOutputs(c, std, &req); err != nil {
		return req, err
	}
	if o.Steps.Pull, err = readPull(c); err != nil {
		return req, err
	}
	if err := readCaching(c, &o.Steps); err != nil {
		return req, err
	}
	if err := readCaches(c, &req); err != nil {
		return req, err
	}
	if o.Steps.Jobs = c.Int("jobs"); o.Steps.Jobs < 0 {
		return req, usagef("--jobs must not be negative")
	}
	if c.String("format") != "" { // the variable may be set and empty
		if o.Image.Format, err = oneOf(c, "format", "oci", "docker"); err != nil {
			return req, err
		}
	}
	if req.call, err = readCall(c); err != nil {
		return req, err
	}
	req.registry, err = forOne(registry, namedIn(*o), "name the image by its registry: -t REGISTRY/NAME")
	if err != nil {
		return req, err
	}
	req.results = readResults(c)
	req.policy, err = readPolicy()
	return req, err
}

// readOutputs reads which names the image gets, and where it goes beside the store.
func readOutputs(c *cli.Context, std streams, req *buildRequest) error {
	names := values(c, "tag")
	req.push = c.Bool("push")
	texts := values(c, "output")
	none := len(texts) > 0 && !req.push
	var all []output
	for _, text := range texts {
		out, err := parseOutput(text)
		if err != nil {
			return err
		}
		if err := out.checkFormat(text, c.String("format")); err != nil {
			return err
		}
		names = append(names, out.names...)
		out.push = out.push || out.kind == toImage && c.Bool("push")
		req.push = req.push || out.push
		none = none && out.kind == toNothing
		all = append(all, out)
		if out.dest != "" {
			req.outputs = append(req.outputs, out)
		}
	}
	if err := checkOutputs(req.outputs, slices.Contains(listed(c, "allow"), allowDelete), isTerminal(std.raw.out)); err != nil {
		return err
	}
	var err error
	if req.pushing, err = pushesAs(all); err != nil {
		return err
	}
	if req.options.Steps.CacheOnly = none; none {
		return readNoImage(c, names, req)
	}
	req.options.Image.Names = names
	if err := checkNames("--tag", names); err != nil || !req.push {
		return err
	}
	if len(names) == 0 {
		return usagef("--push needs a name to push to: --tag REGISTRY/NAME:TAG")
	}
	for _, name := range names {
		if !hasRegistry(name) {
			return usagef("--push: the name %q has no registry; write one before it, as in docker.io/library/%[1]s", display.Line(name))
		}
	}
	return nil
}

// readNoImage is for a build of which only the layer cache is filled.
func readNoImage(c *cli.Context, names []string, req *buildRequest) error {
	if c.String("iidfile") != "" {
		return usagef("--iidfile: --output type=cacheonly writes no image")
	}
	if len(names) > 0 {
		req.warnings = append(req.warnings, "--tag has no effect: --output type=cacheonly writes no image")
	}
	return checkNames("--tag", names)
}

// readStreamFlags reads where the progress goes, and who has the terminal when a RUN fails.
func readStreamFlags(c *cli.Context, std streams, req *buildRequest) (err error) {
	switch progress := c.String("progress"); progress {
	case "auto", "plain", "tty": // the present one is for terminals too
	case "quiet", "none": // docker's name for it
		req.quiet = true
	case "rawjson":
		req.raw = true
	default:
		// The variable is BuildKit's, and may well hold a mode of BuildKit's alone.
		if progress != os.Getenv("BUILDKIT_PROGRESS") {
			return usagef("--progress must be auto, plain, rawjson or quiet, not %q", progress)
		}
	}
	req.quiet = req.quiet || c.Bool("quiet")
	req.raw = req.raw && !req.quiet
	req.onError, err = readOnError(c, std)
	return err
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// oneOf reads a flag that has a few permitted values.
func oneOf(c *cli.Context, flag string, permitted ...string) (string, error) {
	value := c.String(flag)
	if !slices.Contains(permitted, value) {
		return "", usagef("--%s must be %s, not %q", flag, strings.Join(permitted, " or "), value)
	}
	return value, nil
}
