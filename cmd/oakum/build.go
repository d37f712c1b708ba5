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
		Flags:  withStore(buildFlags(), platformFlags("build for"), resultFlags(), languageFlags(), registryFlags()),
		Action: func(c *cli.Context) error { return build(c, std) },
	}
}

func buildFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "tag", Aliases: []string{"t"}, Usage: "name the image `NAME[:TAG]`; repeatable"},
		&cli.StringSliceFlag{Name: "file", Aliases: []string{"f"}, Usage: "read the Dockerfile `FILE`, a path, a URL or - (default: Dockerfile, dockerfile or Containerfile in the context); of several, each goes on where the one before ends"},
		&cli.StringSliceFlag{Name: "build-context", Usage: "`NAME[::PLATFORM]=VALUE` let VALUE stand for the image or stage NAME in FROM and COPY --from: a directory, docker-image://IMAGE, oci-layout://PATH[:TAG|@DIGEST], a git repository or the URL of an archive; repeatable"},
		&cli.StringFlag{Name: "target", Usage: "build the stage `NAME` instead of the last"},
		&cli.StringSliceFlag{Name: "label", Usage: "add the label `NAME=VALUE`; repeatable"},
		&cli.StringSliceFlag{Name: "annotation", Usage: "add the annotation `NAME=VALUE` to the image's manifest, which must be OCI's; repeatable"},
		&cli.StringSliceFlag{Name: "no-cache-filter", Usage: "as --no-cache, but for the stages `NAME,...` alone; repeatable"},
		&cli.BoolFlag{Name: "no-cache", Usage: "run every step, even when its result is in the layer cache"},
		&cli.GenericFlag{Name: "pull", Value: new(pullPolicy), Usage: "`always|missing|never|newer` when to pull base images; without a value always, without the flag missing"},
		&cli.BoolFlag{Name: "pull-always", Usage: "the same as --pull=always"},
		&cli.BoolFlag{Name: "pull-never", Usage: "the same as --pull=never"},
		&cli.BoolFlag{Name: "check", Usage: "do not build: show what the build checks find in the Dockerfile; the same as --call=check"},
		&cli.StringFlag{Name: "call", Value: "build", Usage: "`METHOD[,format=json]` what to do: build, check (or lint), outline (show the build arguments and secrets of the target), targets (list the stages) or subrequests.describe (list what can be asked for)"},
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print only the image id"},
		&cli.IntFlag{Name: "jobs", Usage: "build at most `N` stages side by side (default: as many as there are processors)"},
		&cli.StringFlag{Name: "format", Value: "oci", EnvVars: []string{"BUILDAH_FORMAT"}, Usage: "`oci|docker` the format of the image"},
		&cli.StringFlag{Name: "progress", Value: "auto", EnvVars: []string{"BUILDKIT_PROGRESS"}, Usage: "`auto|plain|quiet` how to show progress"},
		&cli.StringSliceFlag{Name: "output", Aliases: []string{"o"}, Usage: "`type=oci|docker,dest=FILE` also write the image to an archive; type=image[,name=NAME][,push=true] and type=registry[,name=NAME] name it and push it; repeatable"},
		&cli.BoolFlag{Name: "push", Usage: "push the image to each of its names when it is built"},
	}
}

// pullPolicy is the value of --pull.
type pullPolicy builder.PullPolicy

// Set reads the values of buildah's --pull; "true" is --pull without a value.
func (p *pullPolicy) Set(text string) error {
	switch text {
	case "true", "always":
		*p = pullPolicy(builder.PullAlways)
	case "false", "missing", "ifmissing":
		*p = pullPolicy(builder.PullMissing)
	case "never":
		*p = pullPolicy(builder.PullNever)
	case "newer", "ifnewer":
		*p = pullPolicy(builder.PullNewer)
	default:
		return errors.New("must be always, missing, never or newer")
	}
	return nil
}

// readPull reads --pull and the switches of buildah that stand for its values.
func readPull(c *cli.Context) (builder.PullPolicy, error) {
	policy := builder.PullPolicy(*c.Generic("pull").(*pullPolicy))
	always, never := c.Bool("pull-always"), c.Bool("pull-never")
	switch {
	case always && never:
		return "", usagef("--pull-always and --pull-never exclude each other")
	case always:
		return builder.PullAlways, nil
	case never:
		return builder.PullNever, nil
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
	quiet    bool
	warnings []string
	results  results
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
	log, closeLog, err := req.results.openLog(std.raw.err)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeLog()) }()
	progress := newProgress(log, req.quiet)
	for _, text := range req.warnings {
		progress.warn(text, 0)
	}
	req.options.Progress = progress.step
	b, err := open(c, builder.Options{Registry: req.registry, Events: progress.event})
	if err != nil {
		return err
	}
	defer closeBuilder(b, &err)
	img, err := dockerfile.Build(c.Context, b, req.options)
	if err != nil && req.quiet {
		return quietError{err}
	}
	if err != nil {
		return err
	}
	progress.tagged(req.options.Names)
	if err := deliver(c.Context, b, req, img, progress); err != nil {
		return err
	}
	_, err = fmt.Fprintln(std.out, img.ID)
	return err
}

// deliver takes an image that is in the store where else it is to go.
func deliver(ctx context.Context, b *builder.Builder, req buildRequest, img builder.Image, p *progress) error {
	for _, out := range req.outputs {
		if err := out.write(ctx, b, img, req.options); err != nil {
			return err
		}
	}
	var pushed builder.Manifest
	if req.push {
		var err error
		if pushed, err = pushNames(ctx, b, img, req.options.Names, p); err != nil {
			return err
		}
	}
	return req.results.write(ctx, b, img, req.options.Names, pushed)
}

func readBuildFlags(c *cli.Context, std streams) (buildRequest, error) {
	var req buildRequest
	if err := wantArgs(c, 0, 1); err != nil {
		return req, err
	}
	if err := readStreamFlags(c, &req); err != nil {
		return req, err
	}
	registry, err := registry(c)
	if err != nil {
		return req, err
	}
	labels, err := labels(values(c, "label"))
	if err != nil {
		return req, err
	}
	if req.options, err = contextAndFile(c, std.in); err != nil {
		return req, err
	}
	o := &req.options
	o.Target = c.String("target")
	if o.Platform, err = platform(c); err != nil {
		return req, err
	}
	if err := readLanguageFlags(c, o); err != nil {
		return req, err
	}
	o.Labels = labels
	if err := readNames(c, &req); err != nil {
		return req, err
	}
	if o.Annotations, err = annotations(values(c, "annotation")); err != nil {
		return req, err
	}
	if o.Pull, err = readPull(c); err != nil {
		return req, err
	}
	o.NoCache = c.Bool("no-cache")
	for _, names := range values(c, "no-cache-filter") {
		o.NoCacheStages = append(o.NoCacheStages, strings.Split(names, ",")...)
	}
	if o.Jobs = c.Int("jobs"); o.Jobs < 0 {
		return req, usagef("--jobs must not be negative")
	}
	if c.String("format") != "" { // the variable may be set and empty
		if o.Format, err = oneOf(c, "format", "oci", "docker"); err != nil {
			return req, err
		}
	}
	if req.call, err = readCall(c); err != nil {
		return req, err
	}
	req.registry, err = forOne(registry, o.Names, "name the image by its registry: -t REGISTRY/NAME")
	req.results = readResults(c)
	return req, err
}

// readNames reads which names the image gets, and where it goes beside the store.
func readNames(c *cli.Context, req *buildRequest) error {
	names := values(c, "tag")
	req.push = c.Bool("push")
	for _, text := range values(c, "output") {
		out, err := parseOutput(text)
		if err != nil {
			return err
		}
		names = append(names, out.names...)
		req.push = req.push || out.push
		if out.dest != "" {
			req.outputs = append(req.outputs, out)
		}
	}
	req.options.Names = names
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

// readStreamFlags reads where the progress goes.
func readStreamFlags(c *cli.Context, req *buildRequest) error {
	switch progress := c.String("progress"); progress {
	case "auto", "plain", "tty": // the present one is for terminals too
	case "quiet", "none": // docker's name for it
		req.quiet = true
	case "rawjson":
		req.warnings = append(req.warnings, "--progress=rawjson has no effect: progress is plain lines")
	default:
		// The variable is BuildKit's, and may well hold a mode of BuildKit's alone.
		if progress != os.Getenv("BUILDKIT_PROGRESS") {
			return usagef("--progress must be auto, plain or quiet, not %q", progress)
		}
	}
	req.quiet = req.quiet || c.Bool("quiet")
	return nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// labels reads --label; a name without = is an empty label, as in docker.
func labels(texts []string) (map[string]string, error) {
	pairs, err := keyValues("label", texts)
	m := make(map[string]string, len(pairs))
	for k, v := range pairs {
		m[k] = ""
		if v != nil {
			m[k] = *v
		}
	}
	return m, err
}

// annotations reads --annotation. Docker names what it annotates before a colon; here,
// and there without, that is the manifest.
func annotations(texts []string) (map[string]string, error) {
	m := map[string]string{}
	for _, text := range texts {
		name, value, ok := strings.Cut(text, "=")
		if kind, rest, prefixed := strings.Cut(name, ":"); prefixed {
			if kind != "manifest" {
				return nil, usagef("--annotation %q: only the manifest can be annotated, not its %s", text, kind)
			}
			name = rest
		}
		if !ok || name == "" {
			return nil, usagef("--annotation %q is not NAME=VALUE", text)
		}
		m[name] = value
	}
	return m, nil
}

// oneOf reads a flag that has a few permitted values.
func oneOf(c *cli.Context, flag string, permitted ...string) (string, error) {
	value := c.String(flag)
	if !slices.Contains(permitted, value) {
		return "", usagef("--%s must be %s, not %q", flag, strings.Join(permitted, " or "), value)
	}
	return value, nil
}
