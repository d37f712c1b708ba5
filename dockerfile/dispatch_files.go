package dockerfile

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/dockerfile/internal/load"
	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// transfer is one COPY or ADD.
type transfer struct {
	name string
	instructions.SourcesAndDest
	from         *builder.Source // what its patterns are looked up in, or nil
	exclude      []string
	chown, chmod string
	parents      bool
	builder.CopyOptions

	// git and file say more about what ADD fetches; nil for COPY, which fetches nothing.
	git, file func(builder.Source) builder.Source
}

// copyFiles does COPY.
func (t *task) copyFiles(ctx context.Context, c command, ic *instructions.CopyCommand) (builder.Step, error) {
	if err := plan.CheckFiles(ic); err != nil {
		return builder.Step{}, err
	}
	from := t.context()
	if len(c.from) > 0 {
		from = &c.from[0]
	}
	t.warnOfNoDirectory("COPY", ic.SourcesAndDest, ic.Location())
	return t.transfer(ctx, t.copying(ic, from))
}

func (t *task) copying(c *instructions.CopyCommand, from *builder.Source) transfer {
	return transfer{
		name: "COPY", SourcesAndDest: c.SourcesAndDest, from: from, parents: c.Parents,
		exclude: c.ExcludePatterns, chown: c.Chown, chmod: c.Chmod, CopyOptions: builder.CopyOptions{Link: linked(c.Link, c.Chmod)},
	}
}

// addFiles does ADD.
func (t *task) addFiles(ctx context.Context, c *instructions.AddCommand) (builder.Step, error) {
	if err := plan.CheckFiles(c); err != nil {
		return builder.Step{}, err
	}
	t.warnOfNoDirectory("ADD", c.SourcesAndDest, c.Location())
	return t.transfer(ctx, t.adding(c))
}

func (t *task) adding(c *instructions.AddCommand) transfer {
	return transfer{
		name: "ADD", SourcesAndDest: c.SourcesAndDest, from: t.context(),
		exclude: c.ExcludePatterns, chown: c.Chown, chmod: c.Chmod,
		CopyOptions: builder.CopyOptions{Link: linked(c.Link, c.Chmod), Unpack: c.Unpack == nil || *c.Unpack},
		git: func(src builder.Source) builder.Source {
			if c.KeepGitDir != nil {
				src = src.KeepGitDir(*c.KeepGitDir)
			}
			return src.Exclude(c.ExcludePatterns...).Checksum(c.Checksum)
		},
		file: func(src builder.Source) builder.Source {
			if c.Unpack != nil && *c.Unpack {
				src = src.Unpack()
			}
			return src.Checksum(c.Checksum)
		},
	}
}

// linked says whether --link makes a layer by itself. With --chmod it does not, as in BuildKit: Dockerfiles rely on
// it, for such a layer would take the place of links of the base, like /bin, and give its directories another mode.
func linked(link bool, chmod string) bool { return link && chmod == "" }

// context is the build context, or nil.
func (t *task) context() *builder.Source {
	if t.in.Context.Missing() {
		return nil
	}
	files := t.in.Context.Files()
	return &files
}

// warnOfNoDirectory warns when the destination of several sources does not end in a slash,
// as the reference wants. It is a directory all the same, as in Buildah; in BuildKit, unless
// one is there, each file replaces the one before.
func (t *task) warnOfNoDirectory(name string, args instructions.SourcesAndDest, at []parser.Range) {
	several := len(args.SourcePaths)+len(args.SourceContents) > 1
	if several && len(at) > 0 && !strings.HasSuffix(destination(args.DestPath), "/") {
		t.progress.warn(at[0].Start.Line, fmt.Sprintf("%s of several sources: the destination is a directory and should end in a slash: %s/", name, args.DestPath))
	}
}

// transfer does a COPY or ADD.
func (t *task) transfer(ctx context.Context, c transfer) (builder.Step, error) {
	for what, patterns := range map[string][]string{"": c.SourcePaths, " --exclude": c.exclude} {
		if err := load.CheckPatterns(patterns); err != nil {
			return builder.Step{}, fmt.Errorf("%s%s: %w", c.name, what, err)
		}
	}
	sources, bare, err := t.sources(ctx, c)
	if err != nil {
		return builder.Step{}, err
	}
	for i, src := range sources {
		if c.chown != "" {
			src = src.Chown(c.chown)
		}
		if c.chmod != "" {
			src = src.Chmod(c.chmod)
		}
		sources[i] = src
	}
	c.History = c.history()
	did, err := t.fs.CopyWith(ctx, c.CopyOptions, destination(c.DestPath), sources...)
	return did, t.opts.withheld(ctx, bare, err)
}

// sources are what a COPY or ADD takes its files from. bare are repositories to whose servers
// no credentials are sent.
func (t *task) sources(ctx context.Context, c transfer) (sources []builder.Source, bare []string, err error) {
	var patterns []string
	for _, source := range c.SourcePaths {
		git, file, err := plan.Remote(source)
		switch {
		case err != nil:
			return nil, nil, err
		case c.git != nil && (git || file) && t.dry:
			return nil, nil, errNotFetched
		case c.git != nil && (git || file):
			src, authorized, err := t.opts.remote(ctx, source)
			if err != nil {
				return nil, nil, err
			}
			if file {
				src = c.file(src)
			} else if src = c.git(src); !authorized {
				bare = append(bare, source)
			}
			sources = append(sources, src)
		case c.parents:
			patterns = append(patterns, asPattern(source)) // for "/./" has a meaning in it
		default:
			patterns = append(patterns, asPattern(inRoot(source)))
		}
	}
	if len(patterns) > 0 {
		if c.from == nil {
			return nil, nil, fmt.Errorf("%s: there is no build context to take files from", c.name)
		}
		from := c.from.Select(patterns...).Exclude(c.exclude...)
		if c.parents {
			from = from.Parents()
		}
		sources = slices.Insert(sources, 0, from)
	}
	for _, doc := range c.SourceContents {
		name := plan.Bytes(doc.Path)
		if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
			return nil, nil, fmt.Errorf("%s <<%s: the name of a here-document is a file's name here", c.name, name)
		}
		sources = append(sources, builder.Bytes(name, []byte(doc.Data)))
	}
	return sources, bare, nil
}

// asPattern is a source as Source.Select has it, to which a backslash always escapes. In a Dockerfile it does that only from the first
// name with a wildcard on, and is a part of names before, as in BuildKit.
func asPattern(source string) string {
	names := strings.Split(source, "/")
	for i, name := range names {
		if isPattern(name) {
			break
		}
		names[i] = literal.Replace(name)
	}
	return strings.Join(names, "/")
}

// isPattern says that a name of a source has a wildcard, which a backslash before it keeps it from.
func isPattern(name string) bool {
	for i := 0; i < len(name); i++ {
		switch name[i] {
		case '*', '?', '[':
			return true
		case '\\':
			i++
		}
	}
	return false
}

// history is what the image's history shows.
func (t transfer) history() string {
	text := []string{t.name}
	if t.parents {
		text = append(text, "--parents")
	}
	if t.chown != "" {
		text = append(text, "--chown="+t.chown)
	}
	if t.chmod != "" {
		text = append(text, "--chmod="+t.chmod)
	}
	for _, source := range t.SourcePaths {
		text = append(text, plan.Redact(source))
	}
	for _, doc := range t.SourceContents {
		text = append(text, "<<"+plan.Bytes(doc.Path))
	}
	return strings.Join(append(text, t.DestPath), " ")
}

// destination gives a directory's destination its slash: "" and "." are the working
// directory.
func destination(dest string) string {
	switch last := dest[strings.LastIndexByte(dest, '/')+1:]; last {
	case ".", "..":
		return dest + "/"
	case "":
		if dest == "" {
			return "./"
		}
	}
	return dest
}

// inRoot makes a source relative to the root of where it is looked up, which it
// cannot leave.
func inRoot(src string) string {
	if rel := strings.TrimPrefix(path.Clean("/"+src), "/"); rel != "" {
		return rel
	}
	return "."
}
